"""The model card of an exported model: what it was made from, on which data, with which settings, what it scored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sparrow.core.templating import render
from sparrow.models.backbone import Backbone
from sparrow.models.checkpoint_files import is_hub_id
from sparrow.runs.record import RunRecord

SECTIONS = (
    *("seed", "data_seed", "backbone", "tuning", "optimizer", "schedule", "batching"),
    *("frames", "text_to_image", "mixture"),
)
KEYS = {"trainer": ("precision",), "strategy": ("name",), "start_from": ("experiment", "overrides")}


def model_card(record: RunRecord, backbone: Backbone, name: str) -> str:
    """The card as Markdown."""
    made_from = record.config["backbone"]
    tiny, checkpoint = made_from["tiny"], made_from["checkpoint"]
    side = backbone.frame_size_px
    height, width = backbone.prepared_size((side, 2 * side))
    components = record.config["mixture"]["components"]
    names = sorted({components[name]["source"] for name in record.data if name in components})
    sources = {name: record.config["source"][name] for name in names}
    return render(
        "model_card.md.jinja",
        name=name,
        record=record,
        tiny=tiny,
        base=checkpoint if not tiny and is_hub_id(checkpoint) else None,
        revision=made_from["revision"],
        family=backbone.family,
        frame_size_px=side,
        keeps_proportions=height != width,
        native_video=made_from["native_video"],
        model_class=type(backbone.model).__name__,
        modes={part: record.config["tuning"][part]["mode"] for part in ("vision", "projector", "language_model")},
        components=components,
        sources={name: _described(source) for name, source in sources.items()},
        generated=bool(sources) and all(source["use_world"] for source in sources.values()),
        settings=yaml.safe_dump(_settings(record.config), sort_keys=False, allow_unicode=True).rstrip(),
    )


def _described(source: Mapping[str, Any]) -> str:
    """What a source was read from, without the paths of the machine."""
    if source["use_world"]:
        return f"generated: table `{source['world']}` of Sparrow's synthetic world, no real data"
    names = [Path(file).name if Path(file).is_absolute() else file for file in source["files"]]
    which = [f"{key} {source[key]}" for key in ("config_name", "split", "revision") if source.get(key)]
    return ", ".join([*(f"`{name}`" for name in names), *which])


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that made the model; no path of the machine, and no checkpoint that was not loaded."""
    settings = {key: config[key] for key in SECTIONS if key in config} | {
        section: {key: config[section][key] for key in keys} for section, keys in KEYS.items() if section in config
    }
    backbone = dict(settings["backbone"])
    if backbone["tiny"]:
        del backbone["checkpoint"], backbone["revision"]
    elif not is_hub_id(backbone["checkpoint"]):
        backbone["checkpoint"] = f"a folder named {Path(backbone['checkpoint']).name}"
    components = {
        name: {key: value for key, value in component.items() if value is not None}
        for name, component in settings["mixture"]["components"].items()
    }
    totals = {key: value for key, value in settings["mixture"].items() if value is not None}
    return settings | {"backbone": backbone, "mixture": totals | {"components": components}}
