"""Lists of arrays: TensorArrayV3 of TensorFlow 1, whose flow carries the list, and TensorList of TensorFlow 2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ....array import Array
from ..lists import ArrayHandle, TensorList
from ..registry import Node, operator


def _list(node: Node, x: Any) -> TensorList:
    node.check(isinstance(x, TensorList), "takes a list of arrays")
    made: TensorList = x
    return made


def _shape(node: Node, x: Any) -> Any:
    """An element_shape operand: a vector with -1 for what is not known, -1 alone for no known rank."""
    value = node.static(x, "the shape of a list's arrays")
    if value.ndim == 0:
        return None
    return tuple(None if n < 0 else int(n) for n in value.reshape(-1))


@operator("TensorArrayV3")
def tensor_array(node: Node, size: Any) -> Any:
    length = int(node.scalar(size, "the size of a list"))
    made = TensorList.empty(max(length, 0), node.dtype("dtype", "float32"), node.get("element_shape"))
    return ArrayHandle(node.label), replace(made, grows=node.flag("dynamic_size"))


@operator("TensorArrayWriteV3", bounded=True, handles=True)
def tensor_array_write(node: Node, handle: Any, place: Any, x: Any, flow: Any) -> Any:
    return _list(node, flow).set(place, x)


@operator("TensorArrayReadV3", bounded=True, handles=True)
def tensor_array_read(node: Node, handle: Any, place: Any, flow: Any) -> Any:
    return (_list(node, flow).get(place),)


@operator("TensorArrayGatherV3", handles=True)
def tensor_array_gather(node: Node, handle: Any, places: Any, flow: Any) -> Any:
    return _list(node, flow).shaped(node.get("element_shape")).gather(places)


@operator("TensorArrayScatterV3", handles=True)
def tensor_array_scatter(node: Node, handle: Any, places: Any, x: Any, flow: Any) -> Any:
    made = _list(node, flow)
    known = node.ints(places, "the places in a list")
    node.check(len(known) == x.shape[0], f"{len(known)} places for {x.shape[0]} arrays")
    if known == tuple(range(made.size)):
        return TensorList.of(x, made.dtype, made.element)
    made = made if not known or max(known) < made.size else made.resized(max(known) + 1)
    for i, place in enumerate(known):
        made = made.set(Array(np.array(place)), x[i])
    return made


@operator("TensorArrayConcatV3", handles=True)
def tensor_array_concat(node: Node, handle: Any, flow: Any) -> Any:
    return _concat(_list(node, flow))


def _concat(made: TensorList) -> Any:
    items = [made.get(Array(np.array(i))) for i in range(made.size)]
    return made.concat(), Array(np.array([i.shape[0] if i.shape else 1 for i in items], np.int32))


@operator("TensorArraySplitV3", handles=True)
def tensor_array_split(node: Node, handle: Any, x: Any, lengths: Any, flow: Any) -> Any:
    made = _list(node, flow)
    return TensorList.split(x, node.ints(lengths, "the lengths"), made.dtype, made.element)


@operator("TensorArraySizeV3", handles=True)
def tensor_array_size(node: Node, handle: Any, flow: Any) -> Any:
    return Array(np.array(_list(node, flow).size, np.int32))


@operator("TensorArrayCloseV3", bounded=True, handles=True)
def tensor_array_close(node: Node, handle: Any) -> Any:
    return ()


# -- TensorList ----------------------------------------------------------------------------------------------------------------


@operator("TensorListReserve")
def list_reserve(node: Node, shape: Any, size: Any) -> Any:
    length = int(node.scalar(size, "the size of a list"))
    return TensorList.empty(max(length, 0), node.dtype("element_dtype", "float32"), _shape(node, shape))


@operator("EmptyTensorList")
def list_empty(node: Node, shape: Any, most: Any) -> Any:
    return TensorList.empty(0, node.dtype("element_dtype", "float32"), _shape(node, shape))


@operator("TensorListFromTensor")
def list_from_tensor(node: Node, x: Any, shape: Any) -> Any:
    return TensorList.of(x, node.dtype("element_dtype", "float32"), _shape(node, shape))


@operator("TensorListSetItem", bounded=True, handles=True)
def list_set(node: Node, made: Any, place: Any, x: Any, *_: Any) -> Any:
    return _list(node, made).set(place, x)


@operator("TensorListGetItem", bounded=True, handles=True)
def list_get(node: Node, made: Any, place: Any, shape: Any = None) -> Any:
    found = _list(node, made)
    return (found.shaped(None if shape is None else _shape(node, shape)).get(place),)


@operator("TensorListStack", handles=True)
def list_stack(node: Node, made: Any, shape: Any = None) -> Any:
    return _list(node, made).shaped(None if shape is None else _shape(node, shape)).stack()


@operator("TensorListGather", handles=True)
def list_gather(node: Node, made: Any, places: Any, shape: Any = None) -> Any:
    return _list(node, made).shaped(None if shape is None else _shape(node, shape)).gather(places)


@operator("TensorListScatter", "TensorListScatterV2", handles=True)
def list_scatter(node: Node, x: Any, places: Any, shape: Any, size: Any = None) -> Any:
    known = node.ints(places, "the places in a list")
    wanted = -1 if size is None else int(node.scalar(size, "the size of a list"))
    node.check(len(known) == x.shape[0] and min(known, default=0) >= 0, f"places {known} do not fit {x.shape[0]} arrays")
    length = wanted if wanted >= 0 else max(known, default=-1) + 1
    made = TensorList.empty(length, node.dtype("element_dtype", str(x.dtype)), _shape(node, shape))
    if known == tuple(range(length)):
        return TensorList.of(x, made.dtype, made.element)
    for i, place in enumerate(known):
        made = made.set(Array(np.array(place)), x[i])
    return made


@operator("TensorListSplit", handles=True)
def list_split(node: Node, x: Any, shape: Any, lengths: Any) -> Any:
    return TensorList.split(x, node.ints(lengths, "the lengths"), node.dtype("element_dtype", str(x.dtype)), None)


@operator("TensorListConcat", "TensorListConcatV2", handles=True)
def list_concat(node: Node, made: Any, *_: Any) -> Any:
    return _concat(_list(node, made))


@operator("TensorListPushBack", bounded=True, handles=True)
def list_push(node: Node, made: Any, x: Any) -> Any:
    return _list(node, made).pushed(x)


@operator("TensorListPopBack", bounded=True, handles=True)
def list_pop(node: Node, made: Any, shape: Any = None) -> Any:
    found = _list(node, made)
    node.check(found.size > 0, "the list is empty")
    return found.resized(found.size - 1), found.get(Array(np.array(found.size - 1)))


@operator("TensorListLength", handles=True)
def list_length(node: Node, made: Any) -> Any:
    return Array(np.array(_list(node, made).size, np.int32))


@operator("TensorListResize", handles=True)
def list_resize(node: Node, made: Any, size: Any) -> Any:
    return _list(node, made).resized(int(node.scalar(size, "the size of a list")))
