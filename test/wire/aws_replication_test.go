package wire_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	lifeboatv1 "github.com/lifeboat-secrets/lifeboat/api/lifeboat/v1"
)

// statusOf returns the status of a secret's replica.
func (r *raw) statusOf(t testing.TB, secretID, region string) (status, message string) {
	t.Helper()
	list, _ := r.ok(t, "DescribeSecret", m{"SecretId": secretID}).members["ReplicationStatus"].([]any)
	for _, one := range list {
		replica := one.(map[string]any)
		if replica["Region"] == region {
			message, _ = replica["StatusMessage"].(string)
			return replica["Status"].(string), message
		}
	}
	return "", ""
}

func (r *raw) awaitStatus(t testing.TB, secretID, region, want string) (message string) {
	t.Helper()
	var status string
	eventually(t, func() error {
		if status, message = r.statusOf(t, secretID, region); status != want {
			return fmt.Errorf("the replica of %s in %s is %s %q, want %s", secretID, region, status, message, want)
		}
		return nil
	})
	return message
}

// eventually waits until try succeeds.
func eventually(t testing.TB, try func() error) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestReplication: secrets go to another region one by one, each region has its own
// namespace, and what is shown of replicas is so.
func TestReplication(t *testing.T) {
	tenant := newTenant(t)
	east, west := tenant.in("east"), tenant.in("west")
	west.fails(t, "ListSecrets", m{}, "UnrecognizedClientException", "") // nothing of the account is there yet
	made := east.ok(t, "CreateSecret", m{
		"Name": "shared", "SecretString": "one", "ClientRequestToken": token(1), "AddReplicaRegions": []m{{"Region": "west"}},
	})
	made.has(t, "ARN", "Name", "ReplicationStatus", "VersionId")
	east.awaitStatus(t, "shared", "west", "InSync")
	arn := made.members["ARN"].(string)

	replica := west.ok(t, "DescribeSecret", m{"SecretId": "shared"})
	if got := replica.members["ARN"].(string); got[len(got)-7:] != arn[len(arn)-7:] || got == arn || replica.members["PrimaryRegion"] != "east" {
		t.Errorf("the replica of %s is %s", arn, replica.body)
	}
	east.ok(t, "PutSecretValue", m{"SecretId": arn, "SecretString": "two", "ClientRequestToken": token(2)})
	east.awaitStatus(t, "shared", "west", "InSync")
	eventually(t, func() error {
		if got := west.ok(t, "GetSecretValue", m{"SecretId": replica.members["ARN"]}).members["SecretString"]; got != "two" {
			return fmt.Errorf("the replica is %v", got)
		}
		return nil
	})
	const noReplica = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
	for operation, body := range map[string]m{
		"PutSecretValue": {"SecretId": "shared", "SecretString": "x", "ClientRequestToken": token(3)}, "UpdateSecret": {"SecretId": "shared", "Description": "x", "ClientRequestToken": token(3)},
		"DeleteSecret": {"SecretId": "shared"}, "TagResource": {"SecretId": "shared", "Tags": []m{{"Key": "a", "Value": "b"}}},
	} {
		west.fails(t, operation, body, "InvalidParameterException", noReplica)
	}
	east.fails(t, "StopReplicationToReplica", m{"SecretId": "shared"}, "InvalidParameterException", "")
	west.fails(t, "StopReplicationToReplica", m{"SecretId": "none"}, "ResourceNotFoundException", notFound)
	east.fails(t, "DeleteSecret", m{"SecretId": "shared"}, "InvalidParameterException", "You can't delete secret shared that still has replica regions west.")
	for _, region := range []string{"east", "nowhere", "No Region"} {
		east.fails(t, "ReplicateSecretToRegions", m{"SecretId": "shared", "AddReplicaRegions": []m{{"Region": region}}}, "InvalidParameterException", "")
	}
	east.ok(t, "RemoveRegionsFromReplication", m{"SecretId": "shared", "RemoveReplicaRegions": []string{"west"}}).has(t, "ARN")
	eventually(t, func() error {
		if a := west.do(t, "DescribeSecret", m{"SecretId": "shared"}); a.kind != "ResourceNotFoundException" {
			return fmt.Errorf("after it was removed the replica is %s", a.body)
		}
		return nil
	})
	east.fails(t, "RemoveRegionsFromReplication", m{"SecretId": "shared", "RemoveReplicaRegions": []string{"west"}}, "InvalidParameterException", "")
	east.ok(t, "DeleteSecret", m{"SecretId": "shared"})
}

// TestAReplicaIsPromoted by the SDK, in its region: from then on the two are secrets of
// their own, and one is put onto the other only if that is asked for.
func TestAReplicaIsPromoted(t *testing.T) {
	tenant := newTenant(t)
	east, west, ctx := tenant.sdk("east"), tenant.sdk("west"), t.Context()
	made, err := east.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("shared"), SecretString: aws.String("one"), AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("west")}},
	})
	must(t, err)
	tenant.in("east").awaitStatus(t, "shared", "west", "InSync")
	replica, err := west.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: made.Name})
	must(t, err)
	stopped, err := west.StopReplicationToReplica(ctx, &secretsmanager.StopReplicationToReplicaInput{SecretId: replica.ARN})
	must(t, err)
	if *stopped.ARN != *replica.ARN {
		t.Errorf("promoted, %s is %s", *replica.ARN, *stopped.ARN)
	}
	_, err = west.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: replica.ARN, SecretString: aws.String("of west")})
	must(t, err)
	about, err := west.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: replica.ARN})
	must(t, err)
	if about.PrimaryRegion != nil || len(about.ReplicationStatus) > 0 {
		t.Errorf("promoted, it is %+v", about)
	}
	tenant.in("east").awaitStatus(t, "shared", "west", "")
	_, err = east.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretString: aws.String("of east")})
	must(t, err)
	_, err = east.RemoveRegionsFromReplication(ctx, &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: made.ARN, RemoveReplicaRegions: []string{"west"}})
	isFault[*types.InvalidParameterException](t, err)

	again := &secretsmanager.ReplicateSecretToRegionsInput{SecretId: made.ARN, AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("west")}}}
	_, err = east.ReplicateSecretToRegions(ctx, again)
	must(t, err)
	if got := tenant.in("east").awaitStatus(t, "shared", "west", "Failed"); got != "Replication failed: Secret name shared already exists in region west." {
		t.Errorf("the message is %q", got)
	}
	got, err := west.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: replica.ARN})
	must(t, err)
	if *got.SecretString != "of west" {
		t.Errorf("west reads %s", *got.SecretString)
	}
	again.ForceOverwriteReplicaSecret = true
	_, err = east.ReplicateSecretToRegions(ctx, again)
	must(t, err)
	tenant.in("east").awaitStatus(t, "shared", "west", "InSync")
	eventually(t, func() error {
		got, err := west.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: replica.ARN})
		if err != nil || *got.SecretString != "of east" {
			return fmt.Errorf("west reads %+v, %w", got, err)
		}
		return nil
	})
	_, err = west.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: replica.ARN, SecretString: aws.String("x")})
	isFault[*types.InvalidParameterException](t, err)
}

// TestRegionsAreNamespacesOfTheirOwn: a name may be two secrets, and one is put onto
// the other only if that is asked for.
func TestRegionsAreNamespacesOfTheirOwn(t *testing.T) {
	tenant := newTenant(t)
	east, west := tenant.in("east"), tenant.in("west")
	east.ok(t, "CreateSecret", m{"Name": "first", "SecretString": "x", "ClientRequestToken": token(1), "AddReplicaRegions": []m{{"Region": "west"}}})
	east.awaitStatus(t, "first", "west", "InSync")
	east.ok(t, "CreateSecret", m{"Name": "twin", "SecretString": "east's", "ClientRequestToken": token(1)})
	own := west.ok(t, "CreateSecret", m{"Name": "twin", "SecretString": "west's", "ClientRequestToken": token(1)})
	own.has(t, "ARN", "Name", "VersionId")
	west.ok(t, "PutSecretValue", m{"SecretId": "twin", "SecretString": "west's own", "ClientRequestToken": token(2)})
	east.ok(t, "ReplicateSecretToRegions", m{"SecretId": "twin", "AddReplicaRegions": []m{{"Region": "west"}}}).has(t, "ARN", "ReplicationStatus")
	if got := east.awaitStatus(t, "twin", "west", "Failed"); got != "Replication failed: Secret name twin already exists in region west." {
		t.Errorf("the message is %q", got)
	}
	if got := west.ok(t, "GetSecretValue", m{"SecretId": "twin"}).members["SecretString"]; got != "west's own" {
		t.Errorf("west reads %v", got)
	}
	east.ok(t, "ReplicateSecretToRegions", m{"SecretId": "twin", "AddReplicaRegions": []m{{"Region": "west"}}, "ForceOverwriteReplicaSecret": true})
	east.awaitStatus(t, "twin", "west", "InSync")
	eventually(t, func() error {
		if got := west.ok(t, "GetSecretValue", m{"SecretId": "twin"}).members["SecretString"]; got != "east's" {
			return fmt.Errorf("west reads %v", got)
		}
		return nil
	})
}

// TestASecretOfAnotherRegionIsReplicatedToo: made where the vault is a replica, it
// goes to the vault's home.
func TestASecretOfAnotherRegionIsReplicatedToo(t *testing.T) {
	tenant := newTenant(t)
	east, west := tenant.in("east"), tenant.in("west")
	east.ok(t, "CreateSecret", m{"Name": "first", "SecretString": "x", "ClientRequestToken": token(1), "AddReplicaRegions": []m{{"Region": "west"}}})
	east.awaitStatus(t, "first", "west", "InSync")
	west.ok(t, "CreateSecret", m{"Name": "own", "SecretString": "one", "ClientRequestToken": token(1), "AddReplicaRegions": []m{{"Region": "east"}}})
	west.awaitStatus(t, "own", "east", "InSync")
	west.ok(t, "PutSecretValue", m{"SecretId": "own", "SecretString": "two", "ClientRequestToken": token(2)})
	eventually(t, func() error {
		if got := east.ok(t, "GetSecretValue", m{"SecretId": "own"}).members["SecretString"]; got != "two" {
			return fmt.Errorf("the replica in east is %v", got)
		}
		return nil
	})
	if got := east.ok(t, "DescribeSecret", m{"SecretId": "own"}).members["PrimaryRegion"]; got != "west" {
		t.Errorf("its home is %v", got)
	}
	east.fails(t, "PutSecretValue", m{"SecretId": "own", "SecretString": "x", "ClientRequestToken": token(3)}, "InvalidParameterException", "")
	west.ok(t, "RemoveRegionsFromReplication", m{"SecretId": "own", "RemoveReplicaRegions": []string{"east"}})
	eventually(t, func() error {
		if a := east.do(t, "DescribeSecret", m{"SecretId": "own"}); a.kind != "ResourceNotFoundException" {
			return fmt.Errorf("after it was removed the replica is %s", a.body)
		}
		return nil
	})
}

// TestRotationIsRefusedAsOnAWS where no rotator can be invoked.
func TestRotationIsRefusedAsOnAWS(t *testing.T) {
	k := newTenant(t).in("east")
	k.ok(t, "CreateSecret", m{"Name": "a", "SecretString": "one", "ClientRequestToken": token(1)})
	k.fails(t, "RotateSecret", m{"SecretId": "a"}, "InvalidRequestException", "You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	k.fails(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(2)}, "InvalidRequestException", "No Lambda rotation function ARN is associated with this secret.")
	k.fails(t, "RotateSecret", m{"SecretId": "a", "ClientRequestToken": token(2), "RotationLambdaARN": "arn:aws:lambda:east:1:function:f"}, "AccessDeniedException",
		"Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
	k.fails(t, "CancelRotateSecret", m{"SecretId": "a"}, "InvalidRequestException", "")
	k.fails(t, "CancelRotateSecret", m{"SecretId": "b"}, "ResourceNotFoundException", notFound)
}

// TestWritesFollowAVaultThatHasMoved: programs that write in the region that it has left
// go on, under its name.
func TestWritesFollowAVaultThatHasMoved(t *testing.T) {
	tenant := newTenant(t)
	east, west := tenant.in("east"), tenant.in("west")
	c := tenant.Client(shared.Region("east").Control())
	_, err := c.ReplicateVault(t.Context(), connect.NewRequest(&lifeboatv1.ReplicateVaultRequest{
		Vault: "default", Targets: &lifeboatv1.ReplicateVaultRequest_Targets{Targets: []*lifeboatv1.Target{{Region: "west"}}},
	}))
	must(t, err)
	east.ok(t, "CreateSecret", m{"Name": "db", "SecretString": "one", "ClientRequestToken": token(1)})
	east.awaitStatus(t, "db", "west", "InSync")
	_, err = c.MoveVault(t.Context(), connect.NewRequest(&lifeboatv1.MoveVaultRequest{Vault: "default", To: "west"}))
	must(t, err)
	for n := range 3 { // while it moves, and after
		put := east.ok(t, "PutSecretValue", m{"SecretId": "db", "SecretString": fmt.Sprint(n), "ClientRequestToken": token(2 + n)})
		put.has(t, "ARN", "Name", "VersionId", "VersionStages")
		if arn, _ := put.members["ARN"].(string); !strings.Contains(arn, ":east:") {
			t.Errorf("the ARN is %s", arn)
		}
		eventually(t, func() error {
			if got := west.ok(t, "GetSecretValue", m{"SecretId": "db"}).members["SecretString"]; got != fmt.Sprint(n) {
				return fmt.Errorf("west reads %v", got)
			}
			if got := east.ok(t, "DescribeSecret", m{"SecretId": "db"}).members["PrimaryRegion"]; n == 2 && got != "west" {
				return fmt.Errorf("its home is %v", got)
			}
			return nil
		})
	}
	east.fails(t, "PutSecretValue", m{"SecretId": "other", "SecretString": "x", "ClientRequestToken": token(9)}, "ResourceNotFoundException", "")
}
