from __future__ import annotations
def with_picture(bundle, figure):
    return bundle
def export(path, figure, data): ...
