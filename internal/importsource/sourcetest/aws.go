package sourcetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
)

// AWSSecret is a secret of AWS Secrets Manager.
type AWSSecret struct {
	Name, Description string
	// Current and Previous are values; Binary makes the former bytes.
	Current, Previous string
	Binary            bool
	Tags              map[string]string
	// Deleted says that its deletion is scheduled, Denied that it may not be read.
	Deleted, Denied bool
}

const awsARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:"

// NewAWS starts a server that speaks the wire of AWS Secrets Manager, with two
// secrets on each page of a list. It does not check signatures, but that there is
// one. Close it after use.
func NewAWS(secrets []AWSSecret) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			awsFail(w, "MissingAuthenticationTokenException", "no signature")
			return
		}
		var in struct {
			SecretId, VersionStage, NextToken string //nolint:revive // the names of the wire
			MaxResults                        int
			IncludePlannedDeletion            bool
			Filters                           []struct {
				Key    string
				Values []string
			}
		}
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			awsFail(w, "SerializationException", err.Error())
			return
		}
		switch r.Header.Get("X-Amz-Target") {
		case "secretsmanager.ListSecrets":
			matching := slices.Clone(secrets)
			for _, f := range in.Filters {
				matching = slices.DeleteFunc(matching, func(s AWSSecret) bool { return !s.matches(f.Key, f.Values) })
			}
			from, _ := strconv.Atoi(in.NextToken)
			to := min(from+2, len(matching))
			out := map[string]any{}
			list := []any{}
			for _, s := range matching[from:to] {
				list = append(list, s.entry())
			}
			if out["SecretList"] = list; to < len(matching) {
				out["NextToken"] = strconv.Itoa(to)
			}
			awsAnswer(w, out)
		case "secretsmanager.GetSecretValue":
			awsGet(w, secrets, strings.TrimPrefix(in.SecretId, awsARN), in.VersionStage)
		default:
			awsFail(w, "UnknownOperationException", "")
		}
	}))
}

func (s AWSSecret) matches(key string, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		_, tagged := s.Tags[v]
		return key == "name" && strings.HasPrefix(s.Name, v) || key == "tag-key" && tagged
	})
}

func (s AWSSecret) entry() map[string]any {
	e := map[string]any{"ARN": awsARN + s.Name, "Name": s.Name, "CreatedDate": 1.7e9}
	if s.Description != "" {
		e["Description"] = s.Description
	}
	if s.Deleted {
		e["DeletedDate"] = 1.7e9
	}
	tags := []any{}
	for k, v := range s.Tags {
		tags = append(tags, map[string]string{"Key": k, "Value": v})
	}
	e["Tags"] = tags
	return e
}

func awsGet(w http.ResponseWriter, secrets []AWSSecret, name, stage string) {
	for _, s := range secrets {
		value := s.Current
		if stage == "AWSPREVIOUS" {
			value = s.Previous
		}
		switch {
		case s.Name != name:
			continue
		case s.Denied:
			awsFail(w, "AccessDeniedException", "not authorized to perform secretsmanager:GetSecretValue")
		case value == "":
			awsFail(w, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: "+stage)
		case s.Binary:
			awsAnswer(w, map[string]any{"Name": name, "VersionId": stage + "-of-" + name, "SecretBinary": []byte(value)})
		default:
			awsAnswer(w, map[string]any{"Name": name, "VersionId": stage + "-of-" + name, "SecretString": value})
		}
		return
	}
	awsFail(w, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

func awsAnswer(w http.ResponseWriter, out any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

func awsFail(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "Message": message})
}
