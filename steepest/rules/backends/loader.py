"""Loads object code without a linker or a compiler.

numba compiles in the large code model, in which every reference is an absolute 64-bit address: a single kind of
relocation, `R_X86_64_64`. So the loader copies the sections and writes these addresses. LLVM takes a tenth of a second
to load the same code, mostly for its own start.

Source: System V Application Binary Interface, AMD64 Architecture Processor Supplement, sections 4.4 and 3.5.1.
"""

import ctypes
import mmap
import platform
import struct
from collections.abc import Callable
from typing import NamedTuple

ALLOC, NOBITS, RELA, SYMTAB = 2, 8, 4, 2
"""ELF constants: the flag of sections to load; the types of sections without bytes, of relocations, of symbols."""
R_X86_64_64 = 1
"""Relocation type: the symbol's address plus an addend, in eight bytes."""
UNWIND = ".eh_frame"
"""Only for exceptions and debuggers; a kernel raises nothing."""


class Section(NamedTuple):
    """A section header, in the order of the format."""

    name: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int


class Image:
    """Object code in executable memory, released with this object.

    Args:
        code: a relocatable object, ELF for x86-64.
        resolve: returns the address of an external symbol; raises LookupError if it is unknown.

    Raises:
        LookupError: another processor or format, another kind of relocation, or an unknown symbol.
        OSError: the system denies executable memory.
    """

    def __init__(self, code: bytes, resolve: Callable[[str], int]) -> None:
        if code[:6] != b"\x7fELF\x02\x01" or code[18:20] != b"\x3e\x00" or platform.machine() != "x86_64":
            raise LookupError("not an ELF object for x86-64")
        self._code, self._resolve = code, resolve
        offset, (entry, count, names) = struct.unpack_from("<Q", code, 40)[0], struct.unpack_from("<3H", code, 58)
        self._sections = [Section(*struct.unpack_from("<2I4Q2I2Q", code, offset + entry * k)) for k in range(count)]
        self._names = self._sections[names]
        self._place()
        self._symbols = self._read_symbols()
        for section in self._sections:
            if section.type == RELA:
                self._relocate(section)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(self._base), ctypes.c_size_t(self._size), mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "executable memory was denied")

    def address(self, symbol: str) -> int:
        """The address of a function of the object."""
        return next(at for name, at in self._symbols if name == symbol and at is not None)

    def _place(self) -> None:
        """Copies the sections to load, each to a multiple of its alignment."""
        self._starts: dict[int, int] = {}
        end = 0
        for k, section in enumerate(self._sections):
            if section.flags & ALLOC and self._text(self._names, section.name) != UNWIND:
                align = max(1, section.alignment)
                self._starts[k] = -(-end // align) * align
                end = self._starts[k] + section.size
        self._size = -(-max(end, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for k, at in self._starts.items():
            section = self._sections[k]
            if section.type != NOBITS:
                self._memory[at : at + section.size] = self._code[section.offset : section.offset + section.size]

    def _read_symbols(self) -> list[tuple[str, int | None]]:
        """Name and address of each symbol; None if it is external or in a section that is not loaded."""
        table = next(s for s in self._sections if s.type == SYMTAB)
        strings = self._sections[table.link]
        symbols: list[tuple[str, int | None]] = []
        for at in range(table.offset, table.offset + table.size, table.entry):
            name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", self._code, at)
            inside = section in self._starts
            symbols.append((self._text(strings, name), self._base + self._starts[section] + value if inside else None))
        return symbols

    def _relocate(self, relocations: Section) -> None:
        """Writes the addresses to which a section refers."""
        start = self._starts.get(relocations.info)
        if start is None:
            return
        for at in range(relocations.offset, relocations.offset + relocations.size, relocations.entry):
            place, kind, symbol, addend = struct.unpack_from("<QIIq", self._code, at)
            if kind != R_X86_64_64:
                raise LookupError(f"relocation of kind {kind}")
            name, address = self._symbols[symbol]
            address = self._resolve(name) if address is None else address
            struct.pack_into("<Q", self._memory, start + place, (address + addend) % (1 << 64))

    def _text(self, strings: Section, at: int) -> str:
        start = strings.offset + at
        return self._code[start : self._code.index(b"\0", start)].decode()
