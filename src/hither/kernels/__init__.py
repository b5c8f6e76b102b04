"""From a Graph to kernel IR: fusion, lowering, templates, and the IR itself."""
