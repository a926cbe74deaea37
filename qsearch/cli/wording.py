"""What the command line calls the things that a message advises."""

from __future__ import annotations

from qsearch.wording import Words

__all__ = ["COMMAND_LINE"]

COMMAND_LINE = Words(
    allow_empty="--allow-empty",
    allow_host="--allow-host",
    backend="--backend",
    build="'qsearch build'",
    delimiter="--delimiter",
    device="--device",
    encoding="--encoding",
    force="--force",
    graph="--graph",
    host="--host",
    id_field="--id-field",
    index_field="'qsearch index-field'",
    index_graph="'qsearch index-graph'",
    index_text="'qsearch index-text'",
    input_format="--input-format",
    language="--language",
    max_length="--max-length",
    metadata_field="--metadata-field",
    missing_fields_ok="--missing-fields-ok",
    missing_ok="--missing-ok",
    model="--model",
    other_place="another place with -o",
    overlap="--overlap",
    params="--param",
    passages="--passages",
    port="--port",
    rebuild="'qsearch build CORPUS --force'",
    rejects="--rejects",
    rerank="--rerank",
    restart="--restart",
    search_vectors="query --vectors",
    skip_invalid="--skip-invalid",
    text_field="--text-field",
    title_field="--title-field",
    truncate_dim="--truncate-dim",
    upgrade="'qsearch upgrade'",
    upsert="--upsert",
    vectors="--vectors",
    verify="'qsearch verify'",
    wait="--wait SECONDS",
)
