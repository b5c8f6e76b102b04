"""Reads the symbol tables of ELF, Mach-O and COFF objects: what an object needs from outside.

Generated code must need nothing, or it would call into whatever C library happens to be there; the tests ask here.
"""

from __future__ import annotations

import struct


def undefined_symbols(data: bytes) -> set[str]:
    """Names that a 64-bit little-endian object refers to and does not define.

    Raises:
        ValueError: if the bytes are not an ELF, Mach-O or COFF object.
    """
    if data[:4] == b"\x7fELF":
        return _elf(data)
    if data[:4] == b"\xcf\xfa\xed\xfe":
        return _macho(data)
    if data[:2] in (b"\x64\x86", b"\x64\xaa"):  # x86-64, arm64
        return _coff(data)
    raise ValueError(f"not an object file: it starts with {data[:4].hex() or 'nothing'}")


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def _elf(data: bytes) -> set[str]:
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    found = set()
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB
            continue
        names = sections[section[6]][4]
        for at in range(section[4] + 24, section[4] + section[5], 24):  # the first symbol is the null symbol
            name, _, _, where = struct.unpack_from("<IBBH", data, at)
            if where == 0:  # SHN_UNDEF
                found.add(_text(data, names + name))
    return found


def _macho(data: bytes) -> set[str]:
    (commands,) = struct.unpack_from("<I", data, 16)
    at, found = 32, set()
    for _ in range(commands):
        command, size = struct.unpack_from("<II", data, at)
        if command == 2:  # LC_SYMTAB
            symbols, count, strings, _ = struct.unpack_from("<IIII", data, at + 8)
            for i in range(count):
                name, kind = struct.unpack_from("<IB", data, symbols + 16 * i)
                if kind & 0x0E == 0 and not kind & 0xE0:  # N_UNDF, not a debugger's
                    found.add(_text(data, strings + name))
        at += size
    return found


def _coff(data: bytes) -> set[str]:
    table, count = struct.unpack_from("<II", data, 8)
    strings, found, i = table + 18 * count, set(), 0
    while i < count:
        at = table + 18 * i
        value, section, _, storage, extra = struct.unpack_from("<IhHBB", data, at + 8)
        if section == 0 and value == 0 and storage == 2:  # IMAGE_SYM_CLASS_EXTERNAL, of no section
            zeros, offset = struct.unpack_from("<II", data, at)
            found.add(_text(data, strings + offset) if zeros == 0 else data[at : at + 8].rstrip(b"\0").decode())
        i += 1 + extra
    return found
