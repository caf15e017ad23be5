"""``clad sign`` and ``clad verify``: for models that pass between organisations."""

from __future__ import annotations

from pathlib import Path

import click

from clad.cli.options import reporting


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--key", required=True, type=click.Path(path_type=Path),
    help="Ed25519 private key, PEM (openssl genpkey -algorithm ed25519 -out key.pem).",
)  # fmt: skip
@click.option("--passphrase", is_flag=True, help="Ask for the key's passphrase.")
def sign(model: Path, key: Path, passphrase: bool) -> None:
    """Sign MODEL: say that its files, as they are now, come from the key's owner."""
    from clad import signing

    secret = click.prompt("Passphrase", hide_input=True, err=True) if passphrase else None
    with reporting(quiet=False):
        written = signing.sign(model, key, secret)
    click.echo(f"{written} written; check it with: clad verify {model} --key PUBLIC_KEY")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--key", required=True, type=click.Path(path_type=Path),
    help="The signer's public key, PEM (openssl pkey -in key.pem -pubout -out public.pem).",
)  # fmt: skip
def verify(model: Path, key: Path) -> None:
    """Check that MODEL is whole and signed by the owner of a key. Exit status 0: it is."""
    from clad import signing

    with reporting(quiet=False):
        signing.verify(model, key)
    click.echo(f"{model}: whole, and signed by the owner of {key}")
