package aws

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/lifeboat-secrets/lifeboat/internal/secret"
	"github.com/lifeboat-secrets/lifeboat/internal/service"
)

const (
	arnPrefix    = "arn:aws:secretsmanager:"
	suffixLength = 6
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	nameChars    = alphanumeric + "/_+=.@!-"
	maxSecretID  = 2048
)

// accountNumber is what the API calls an account: twelve digits that follow from its
// ID, so that they are the same in every region.
func accountNumber(id secret.AccountID) string {
	digest := sha256.Sum256(append([]byte("account number\x00"), id...))
	return fmt.Sprintf("%012d", binary.BigEndian.Uint64(digest[:])%1_000_000_000_000)
}

// suffix is the end of a secret's ARN. It follows from the secret's ID, so that a
// replica has the same one, and a secret that is made again another one.
func suffix(id secret.ID) string {
	digest := sha256.Sum256(append([]byte("arn suffix\x00"), id...))
	n := binary.BigEndian.Uint64(digest[:])
	var s [suffixLength]byte
	for i := range s {
		s[i] = alphanumeric[n%uint64(len(alphanumeric))]
		n /= uint64(len(alphanumeric))
	}
	return string(s[:])
}

func (d *Dialect) arn(account secret.AccountID, id secret.ID, name string) string {
	return arnPrefix + d.region + ":" + accountNumber(account) + ":secret:" + name + "-" + suffix(id)
}

func (d *Dialect) arnOf(s *secret.Secret) string { return d.arn(s.Account, s.ID, s.Name) }

func checkName(name string) error {
	if name == "" || len(name) > secret.MaxNameBytes || strings.Trim(name, nameChars) != "" || !all(name) {
		return faultf(secret.CodeInvalid, "ValidationException", textName)
	}
	return nil
}

func all(name string) bool {
	for i := range len(name) {
		if strings.IndexByte(nameChars, name[i]) < 0 {
			return false
		}
	}
	return true
}

// ref returns what a SecretId means: a name, an ARN, or an ARN without its suffix.
// An ARN of another region or account names no secret here.
func (d *Dialect) ref(secretID *string) (service.SecretRef, error) {
	if secretID == nil {
		return service.SecretRef{}, broken("null", "secretId", "not be null")
	}
	if n := len(*secretID); n == 0 || n > maxSecretID {
		return service.SecretRef{}, broken("", "secretId", "have length between 1 and %d", maxSecretID)
	}
	rest, isARN := strings.CutPrefix(*secretID, "arn:")
	if !isARN {
		return service.SecretRef{Vault: d.Vault, Secret: *secretID}, checkName(*secretID)
	}
	part := strings.SplitN(rest, ":", 6)
	if len(part) != 6 || part[4] != "secret" {
		return service.SecretRef{}, faultf(secret.CodeInvalid, "ValidationException", textName)
	}
	name := part[5]
	if err := checkName(name); err != nil {
		return service.SecretRef{}, err
	}
	here := part[0] == "aws" && part[1] == serviceName && part[2] == d.region
	partial := service.SecretRef{
		Vault: d.Vault, Secret: name,
		Is: func(account secret.AccountID, _ secret.ID) bool { return here && accountNumber(account) == part[3] },
	}
	cut := len(name) - suffixLength - 1
	if cut < 1 || name[cut] != '-' {
		return partial, nil
	}
	return service.SecretRef{
		Vault: d.Vault, Secret: name[:cut],
		Is: func(account secret.AccountID, id secret.ID) bool {
			return partial.Is(account, id) && suffix(id) == name[cut+1:]
		},
		Or: name, OrIs: partial.Is,
	}, nil
}

// checkToken checks a ClientRequestToken, which becomes the ID of the version.
func checkToken(token *string) (secret.VersionID, error) {
	if token == nil || *token == "" {
		return "", invalidRequest(textNoToken)
	}
	if n := len(*token); n < 32 || n > secret.MaxVersionIDBytes {
		return "", invalidParameter(textToken)
	}
	return secret.VersionID(*token), nil
}

// The stages that the API has names of its own for.
var (
	toWire = map[secret.Stage]string{secret.Current: "AWSCURRENT", secret.Previous: "AWSPREVIOUS", secret.Pending: "AWSPENDING"}
	toHere = map[string]secret.Stage{"AWSCURRENT": secret.Current, "AWSPREVIOUS": secret.Previous, "AWSPENDING": secret.Pending}
)

// stageOf returns the stage that a label of the API is. What are stages here are
// not labels there.
func stageOf(label string) (secret.Stage, error) {
	if stage, ok := toHere[label]; ok {
		return stage, nil
	}
	stage := secret.Stage(label)
	switch stage {
	case secret.Current, secret.Previous, secret.Pending, secret.Latest, secret.Deprecated:
		return "", invalidParameter("The staging label %s has a meaning of its own in this region; choose another one.", stage)
	case "":
		return "", broken("''", "versionStage", "have length greater than or equal to 1")
	}
	return stage, nil
}

func stagesOf(labels []string) ([]secret.Stage, error) {
	var stages []secret.Stage
	for _, label := range labels {
		stage, err := stageOf(label)
		if err != nil {
			return nil, err
		}
		stages = append(stages, stage)
	}
	return stages, nil
}

// labels returns the labels of a version, sorted; none for a deprecated one.
func labels(s *secret.Secret, id secret.VersionID) []string {
	var found []string
	for stage, at := range s.Stages {
		if at != id {
			continue
		}
		label, ok := toWire[stage]
		if !ok {
			label = string(stage)
		}
		found = append(found, label)
	}
	slices.Sort(found)
	return found
}

// labelled maps each version that has labels to them; nil if none has.
func labelled(s *secret.Secret) map[string][]string {
	var found map[string][]string
	for i := range s.Versions {
		id := s.Versions[i].ID
		if of := labels(s, id); len(of) > 0 {
			if found == nil {
				found = make(map[string][]string, len(s.Stages))
			}
			found[string(id)] = of
		}
	}
	return found
}

// checkKey refuses a key: which one seals is a matter of the vault.
func checkKey(id *string) error {
	if id == nil || *id == "" || *id == "alias/aws/secretsmanager" {
		return nil
	}
	return invalidParameter("KmsKeyId: the keys that seal are those of the vault, which its owner chooses; leave it out.")
}
