"""What ships to a browser: the bundle writer, the dev server, and the JavaScript runtime."""
