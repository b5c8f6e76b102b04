"""Reading the text of pictures with PP-OCRv4, in Python and in a browser tab: what `hither demo` shows."""
