"""JavaScript without comments and needless characters: what is shipped of the runtime, whose sources explain themselves.

Names and lines stay, so that a stack trace from a page still reads. It knows JavaScript's tokens as far as the runtime uses
them: strings, templates with nested expressions, regular expressions (after an operator or an opening bracket), comments.
`const` becomes `let`, which compresses better, and declarations that follow one another become one; that nothing is assigned to
a constant is what the type checker is for.
"""

from __future__ import annotations

import re

_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
_REGEX = re.compile(r"/(?:[^/\\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/\w*")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_CAST = re.compile(r"/\*\* @type (?:(?!\*/).)*\*/ \(([\w.]+(?:\[\w+\])?|\[\])\)(?! =>)")  # the brackets are the comment's
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[\w$#]")
_DECLARE = re.compile(r"(?:const|let)(?=[\s{[])")
_HEAD = re.compile(r"\b(?:if|for|while)$")  # after its brackets a statement may be empty
_BEFORE_REGEX = set("(,=:[!&|?{};+-*%<>~^") | {""}


def squeeze(source: str) -> str:
    """The same program in fewer bytes."""
    return _Squeezer(_CAST.sub(r"\1", source)).code("") + "\n"


class _Squeezer:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def code(self, until: str) -> str:
        """Squeeze up to an unmatched `until` ("" is the end of the file)."""
        out: list[str] = []
        gap = ""  # "", " " or "\n": what stood between the last token and the next
        depth = 0
        opened: list[int] = []  # where in `out` each bracket that is still open is
        start = 0  # and the last that has closed
        head = False  # whether the last bracket to close was that of an `if`, `for` or `while`
        declares = [False]  # whether the statement is a declaration, in each block or bracket that is open
        declared = False  # whether the last semicolon ended one
        while self.at < len(self.source):
            c = self.source[self.at]
            if space := _SPACE.match(self.source, self.at) or _COMMENT.match(self.source, self.at):
                gap = "\n" if "\n" in space.group() or gap == "\n" else " "
                self.at = space.end()
                continue
            if c == until and depth == 0:
                break
            depth += (c == "{") - (c == "}")
            last = out[-1][-1] if out else ""
            token = self._token(last)
            if gap and _needed(gap, last, token[0]):
                out.append(gap)
                if gap == "\n":
                    declares[-1] = False
            begins = not last or last in ";{}(" or out[-1] == "\n"
            gap = ""
            if token == "let" and begins:
                declares[-1] = True
                if last == ";" and declared:
                    out[-1] = ","
                    continue
            elif token == ";":
                declared, declares[-1] = declares[-1], False
            elif token in ("(", "[", "{"):
                declares.append(False)
            elif token in (")", "]", "}"):
                declares.pop()
            if token == "(":
                opened.append(len(out))
            elif token == ")":
                start = opened.pop()
                head = bool(_HEAD.search("".join(out[max(0, start - 6) : start])))
            elif token == "=" and last == ")" and self.source.startswith(">", self.at):
                _unwrap(out, start)
            elif token == "}" and (last == "," or (last == ";" and not (head and out[-2:-1] == [")"]))):  # not of `if (x) ;}`
                out.pop()
            out.append(token)
        return "".join(out)

    def _token(self, last: str) -> str:
        start = self.at
        if self.source[start] == "`":
            return self._template()
        found = _STRING.match(self.source, start)
        if not _WORD.match(last or " ") and last != "." and (keyword := _DECLARE.match(self.source, start)):
            self.at = keyword.end()
            return "let"
        if found is None and self.source[start] == "/" and last in _BEFORE_REGEX:
            found = _REGEX.match(self.source, start)
        self.at = found.end() if found else start + 1
        return self.source[start : self.at]

    def _template(self) -> str:
        out = ["`"]
        self.at += 1
        while (c := self.source[self.at]) != "`":
            if c == "\\":
                out.append(self.source[self.at : self.at + 2])
                self.at += 2
            elif self.source.startswith("${", self.at):
                self.at += 2
                out.append("${" + self.code("}") + "}")
                self.at += 1
            else:
                out.append(c)
                self.at += 1
        self.at += 1
        return "".join(out) + "`"


def _unwrap(out: list[str], start: int) -> None:
    """Take the brackets from an arrow function's parameters, begun at `start`, if they are one name."""
    if len(out) > start + 2 and all(_WORD.match(token) for token in out[start + 1 : -1]):
        out[start] = " " if _WORD.match(out[start - 1] if start else " ") else ""  # of an `async` one
        out.pop()


def _needed(gap: str, last: str, following: str) -> bool:
    """Whether a gap separates what would otherwise be one token, or ends a statement."""
    if gap == "\n":  # automatic semicolons: a newline goes only where a statement cannot end or begin
        return bool(last) and last not in "{([,;=&|?:" and following not in ".?:)],;=&|"
    return bool(_WORD.match(last or " ") and _WORD.match(following)) or (last == following and last in "+-")
