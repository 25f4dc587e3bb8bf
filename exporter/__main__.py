"""``python -m exporter`` is the same as the command ``cliproxy-exporter``."""

from exporter.cli import main

if __name__ == "__main__":
    main()
