from __future__ import annotations
def with_picture(bundle, elements, grid, captions):
    return bundle
