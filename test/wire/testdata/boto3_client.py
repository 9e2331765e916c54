"""What a program that uses boto3 does; it ends with an error if something is off."""
import os
import boto3
from botocore.config import Config

c = boto3.client(
    "secretsmanager",
    endpoint_url=os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"],
    region_name=os.environ["AWS_REGION"],
    config=Config(retries={"max_attempts": 1}),
)


def keys(answer):
    return sorted(k for k in answer if k != "ResponseMetadata")


def refused(error, message, call, **arguments):
    try:
        call(**arguments)
    except error as e:
        # AWS sends the message under a capital letter, which boto3 shows at the top too.
        assert e.response["Error"]["Message"] == message, e.response
        assert e.response["Message"] == message, e.response
        assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 400, e.response
        return
    raise AssertionError("was not refused")


made = c.create_secret(Name="boto/a", SecretString="one", Tags=[{"Key": "k", "Value": "v"}])
assert keys(made) == ["ARN", "Name", "VersionId"], made
assert made["ResponseMetadata"]["RequestId"], made
got = c.get_secret_value(SecretId="boto/a")
assert keys(got) == ["ARN", "CreatedDate", "Name", "SecretString", "VersionId", "VersionStages"], got
assert got["SecretString"] == "one" and got["CreatedDate"].year >= 2020, got
put = c.put_secret_value(SecretId=made["ARN"], SecretBinary=b"\x00\xff")
assert c.get_secret_value(SecretId="boto/a")["SecretBinary"] == b"\x00\xff"
about = c.describe_secret(SecretId="boto/a")
assert keys(about) == ["ARN", "CreatedDate", "LastChangedDate", "Name", "Tags", "VersionIdsToStages"], about
assert about["VersionIdsToStages"] == {made["VersionId"]: ["AWSPREVIOUS"], put["VersionId"]: ["AWSCURRENT"]}, about
c.update_secret(SecretId="boto/a", Description="text")
names = [s["Name"] for page in c.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": ["boto/"]}]) for s in page["SecretList"]]
assert names == ["boto/a"], names
refused(c.exceptions.ResourceNotFoundException, "Secrets Manager can't find the specified secret.", c.get_secret_value, SecretId="boto/none")
refused(c.exceptions.ResourceExistsException, "The operation failed because the secret boto/a already exists.", c.create_secret, Name="boto/a", SecretString="x")
refused(c.exceptions.InvalidRequestException, "You provided a VersionStage that is not associated to the provided VersionId.",
        c.get_secret_value, SecretId="boto/a", VersionId=made["VersionId"], VersionStage="AWSCURRENT")
c.delete_secret(SecretId="boto/a", RecoveryWindowInDays=7)
refused(c.exceptions.InvalidRequestException, "You can't perform this operation on the secret because it was marked for deletion.",
        c.get_secret_value, SecretId="boto/a")
c.restore_secret(SecretId="boto/a")
c.delete_secret(SecretId="boto/a", ForceDeleteWithoutRecovery=True)
assert len(c.get_random_password(PasswordLength=20)["RandomPassword"]) == 20
print("boto3", boto3.__version__, "is content")
