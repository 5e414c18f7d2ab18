"""An S3 server in this process, with one bucket, and the environment that S3 clients need for it."""

import contextlib
from collections.abc import Iterator, Mapping

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "headcanon"


@contextlib.contextmanager
def s3_server() -> Iterator[Mapping[str, str]]:
    """Yields environment variables; the bucket is empty."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "user",
        "AWS_SECRET_ACCESS_KEY": "password",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        client = boto3.client(
            "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="user", aws_secret_access_key="password",
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET)
        yield environment
    finally:
        server.stop()
