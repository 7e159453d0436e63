"""The shell that obeys: asyncio, aiohttp, tenacity, files. Each module drives one module of `_core`."""
