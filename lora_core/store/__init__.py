"""The disk door: everything that is kept, by digest or by key."""

from lora_core.store.local import Store as Store
from lora_core.store.local import Tree as Tree
from lora_core.store.local import open_store as open_store
