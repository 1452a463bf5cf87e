"""[data]: the data set."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from impcore.config.tables.base import Choosing, Options, PathText, shown_as

HeldName = Literal[
    "digits",
    "digits_parity",
    "digits_rotation",
    "digits_noisy",
    "cifar10",
    "cifar100",
    "svhn",
    "fashion_mnist",
]
FolderName = Literal[
    "imagenet",
    "image_folder",
]
DataName = Literal[HeldName, FolderName]
"""A line a data set of `impcore.data`: those held in memory, and folders of images."""

FileTextName = Literal[
    "mnli",
    "sst2",
    "stsb",
    "qqp",
    "wnli",
    "qnli",
    "mrpc",
    "rte",
    "cola",
    "squad",
    "wikitext",
]
ProseName = Literal[
    "prose",
    "prose_order",
    "prose_pairs",
    "prose_topic",
]
TextName = Literal[FileTextName, ProseName]
"""A line a text data set of `impcore.data`."""
_OF_FOLDERS: dict[str, object] = {"cache": None, "image_size": 224}
_OF_PROSE: dict[str, object] = {"max_length": 64}
_OF_TEXT: dict[str, object] = {"source": "files", "tokenizer": None, "max_length": 128}


class Data(Choosing):
    """The data set."""

    OPTIONS: ClassVar[Options] = {
        "name": {name: {} for name in get_args(HeldName)}
        | dict.fromkeys(get_args(FolderName), _OF_FOLDERS)
        | dict.fromkeys(get_args(FileTextName), _OF_TEXT)
        | dict.fromkeys(get_args(ProseName), _OF_PROSE)
        | {"squad": _OF_TEXT | {"max_length": 384, "doc_stride": 128}}
    }

    name: Literal[DataName, TextName]
    """The data set: images or, for BERT, text."""
    root: PathText | None = None
    """The directory of the data set's files; $IMPCORE_DATA unless given."""
    augment: Literal["none", "crop", "flip_crop", "resized_crop"] = "none"
    """Of training images: padded random crop, without or with flips; folders: resized_crop."""
    validation: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Training images held out and scored: the last ones, or evenly over folders; 0: none."""
    drop_last: bool = False
    """Leave out an epoch's last batch if it is incomplete."""
    cache: PathText | None = None
    """Folders of images: where decoded images are kept; beside them unless given."""
    image_size: Annotated[Annotated[int, Field(ge=1, le=4096)] | None, shown_as(224)] = None
    """Folders of images: pixels of a side of what the network sees."""
    source: Annotated[Literal["files", "hub"] | None, shown_as("files")] = None
    """Text: the official files in `root`, or Hugging Face datasets (the hub, or `root`, a copy)."""
    tokenizer: PathText | None = None
    """Text: the folder or hub name of a fast tokenizer; that of model.path unless given."""
    max_length: Annotated[Annotated[int, Field(ge=8, le=2**16)] | None, shown_as(128)] = None
    """Text: tokens of an example at most (SQuAD: 384, prose: 64)."""
    doc_stride: Annotated[Annotated[int, Field(ge=1, le=2**16)] | None, shown_as(128)] = None
    """SQuAD: a window of the context begins every so many tokens."""

    @property
    def is_text(self) -> bool:
        """Whether the data set is text, and not images."""
        return self.name in get_args(TextName)
