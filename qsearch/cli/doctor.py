"""``qsearch doctor``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qsearch.cli.help import Command
from qsearch.cli.output import Console, columns, encoder_rows, print_data, print_json
from qsearch.cli.target import (
    backend_option,
    device_option,
    index_argument,
    index_option,
    named_index,
)
from qsearch.errors import EncoderError, EncoderMismatch

if TYPE_CHECKING:
    from qsearch.encoding import ContractCheck, EncoderContract
    from qsearch.encoding.diagnosis import Diagnosis
    from qsearch.index import Index

__all__ = ["doctor"]

_MOST_TEXTS = 200


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  qsearch doctor
  qsearch doctor -i indexes/corpus --model ./another-copy-of-the-model
  qsearch doctor --vectors langchain.npy --texts texts.txt
""",
)
@index_argument
@index_option
@click.option("-m", "--model", envvar="QSEARCH_MODEL", help="Check this model instead.")
@device_option
@backend_option
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    help="Vectors made elsewhere (.npy), a row for each of the --texts: do they fit the index?",
)
@click.option(
    "--texts",
    type=click.Path(path_type=Path),
    help="The texts of --vectors: a text a line (.txt), or JSON Lines as 'qsearch export' writes them; a "
    "title goes before its text, as the index encodes it.",
)
@click.option(
    "--format", "format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.pass_obj
def doctor(
    console: Console,
    path: Path | None,
    index: Path | None,
    model: str | None,
    device: str,
    backend: str,
    vectors: Path | None,
    texts: Path | None,
    format: str,
) -> None:
    """Check the encoder of an index, or vectors made elsewhere; exits 1 if they do not fit.

    An index knows its encoder: what it is made of, and what it made of some texts, the canaries. doctor
    prints this contract, holds the encoder at hand against it, and says what to do.

    With --vectors and --texts it says whether vectors from another tool fit the index, and tries known
    habits (no prompt, not stripped, other pooling, cut or rounded otherwise) to explain a difference.
    The first 200 are compared.
    """
    from qsearch.index import Index

    if (vectors is None) != (texts is None):
        raise click.UsageError("give --vectors and --texts together")
    with Index.open(
        named_index(path, index), encoder=model, device=device, backend=backend
    ) as opened:
        contract = opened.contract
        if contract is None:
            raise EncoderError(
                f"{opened.path} was built from vectors without an encoder: there is nothing to check; "
                "name the model at build with --model"
            )
        if vectors is not None and texts is not None:
            _vectors(console, opened, contract, vectors, texts, model, format)
            return
        check = opened.check_encoder()
    _contract(opened.path, contract, check, format)
    if not check.ok:
        raise EncoderMismatch(
            f"this encoder is not the one that {opened.path} was built with", check.differences
        )


def _contract(path: Path, contract: EncoderContract, check: ContractCheck, format: str) -> None:
    if format == "json":
        facts: dict[str, Any] = {
            "index": str(path),
            "contract": contract.identity.to_json(),
            "ok": check.ok,
            "differences": check.differences,
            "notes": check.notes,
            "tolerance": check.tolerance,
            "canaries": [asdict(one) for one in check.canaries],
        }
        print_json(facts, indent=2)
        return
    for line in columns([("index", str(path)), *encoder_rows(contract.identity.to_json())]):
        print_data(line)
    if check.canaries:
        print_data("")
        table = [("canary", "as a document   as a query")]
        table += [
            (one.name, f"{one.document_cosine:.9f}     {one.query_cosine:.9f}")
            for one in check.canaries
        ]
        for line in columns(table):
            print_data(line)
    print_data("")
    if check.ok:
        print_data(
            f"sound: the encoder keeps the contract (cosines within {check.tolerance:g} of 1)"
        )
    for difference in check.differences:
        print_data(f"differs: {difference}")
    for note in check.notes:
        print_data(f"note: {note}")
    if not check.ok:
        print_data(
            "what to do: query with the encoder of the index (--model names another place of it), or "
            "build the index again with this one"
        )


def _vectors(
    console: Console,
    index: Index,
    contract: EncoderContract,
    vectors: Path,
    texts: Path,
    model: str | None,
    format: str,
) -> None:
    from qsearch.documents import Embeddings, read_encoded_texts
    from qsearch.encoding.diagnosis import diagnose

    given = Embeddings(vectors)
    read = read_encoded_texts(str(texts))
    if len(read) != given.rows:
        raise EncoderError(f"{texts} has {len(read):,} texts, {vectors} has {given.rows:,} rows")
    found = diagnose(
        contract.identity,
        index.encoder,
        read[:_MOST_TEXTS],
        given.read(0, min(given.rows, _MOST_TEXTS)),
        lambda habit: console.note(f"trying vectors made {habit}"),
        model,
    )
    _print_diagnosis(found, format)
    if not found.fit:
        raise EncoderMismatch(f"{vectors} does not fit {index.path}", (found.verdict,))


def _print_diagnosis(found: Diagnosis, format: str) -> None:
    if format == "json":
        print_json(asdict(found), indent=2)
        return
    print_data(found.verdict)
    for note in found.notes:
        print_data(f"note: {note}")
    table = [("worst     median    made", "")]
    table += [(f"{one.worst:.6f}  {one.median:.6f}  {one.habit}", "") for one in found.trials]
    for line in columns(table):
        print_data(line)
