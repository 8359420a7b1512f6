"""What both time loops do with rows: sums and products with weights, and the input.

Loops write one array each and read few: wide ones are not vectorised.
"""

from __future__ import annotations

from ip2lab.networks.compilation import borrowing


@borrowing
def add(total, extra):
    """Add a row."""
    for i in range(total.shape[0]):
        total[i] += extra[i]


@borrowing
def add_product(total, one, two):
    """Add a product of rows, element by element."""
    for i in range(total.shape[0]):
        total[i] += one[i] * two[i]


@borrowing
def add_outputs(total, weights, source, scale):
    """Add ``scale * source @ weights`` to `total`, for the few rows of a readout."""
    for k in range(weights.shape[0]):
        factor, row = scale * source[k], weights[k]
        for i in range(total.shape[0]):
            total[i] += factor * row[i]


@borrowing
def add_rows(total, weights, source, scale, listed, count):
    """Add ``scale * source[j] * weights[j]`` to `total` for the first `count` entries j of `listed`."""
    n, k = total.shape[0], 0
    while k + 4 <= count:
        j0, j1, j2, j3 = listed[k], listed[k + 1], listed[k + 2], listed[k + 3]
        f0, f1, f2, f3 = scale * source[j0], scale * source[j1], scale * source[j2], scale * source[j3]
        w0, w1, w2, w3 = weights[j0], weights[j1], weights[j2], weights[j3]
        for i in range(n):
            total[i] += (f0 * w0[i] + f1 * w1[i]) + (f2 * w2[i] + f3 * w3[i])
        k += 4
    while k < count:
        f0, w0 = scale * source[listed[k]], weights[listed[k]]
        for i in range(n):
            total[i] += f0 * w0[i]
        k += 1


@borrowing
def dot_rows(result, weights, vector, scale, listed, count):
    """Add ``scale * weights[j] @ vector`` to ``result[j]`` for the first `count` entries j of `listed`."""
    n, k, zero = vector.shape[0], 0, vector.dtype.type(0)
    while k + 4 <= count:
        j0, j1, j2, j3 = listed[k], listed[k + 1], listed[k + 2], listed[k + 3]
        w0, w1, w2, w3 = weights[j0], weights[j1], weights[j2], weights[j3]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for i in range(n):
            v = vector[i]
            s0 += w0[i] * v
            s1 += w1[i] * v
            s2 += w2[i] * v
            s3 += w3[i] * v
        result[j0] += scale * s0
        result[j1] += scale * s1
        result[j2] += scale * s2
        result[j3] += scale * s3
        k += 4
    while k < count:
        j0, s0 = listed[k], zero
        w0 = weights[j0]
        for i in range(n):
            s0 += w0[i] * vector[i]
        result[j0] += scale * s0
        k += 1


@borrowing
def list_nonzero(vector, listed):
    """List where `vector` is not zero in `listed` (one longer than needed); return how many places there are."""
    count = 0
    for i in range(vector.shape[0]):
        listed[count] = i
        count += int(vector[i] != 0)
    return count


@borrowing
def same_row(inputs, t):
    """Tell whether the input at step `t` is that of the step before."""
    same = t > 0
    if same:
        for k in range(inputs.shape[1]):
            if inputs[t, k] != inputs[t - 1, k]:
                same = False
    return same


@borrowing
def input_drive(inputs, t, weights, bias, drive):
    """Write what arrives from outside at step `t` into `drive`; an input that stays is not multiplied again."""
    if same_row(inputs, t):
        return
    for i in range(drive.shape[0]):
        drive[i] = bias[i]
    for k in range(inputs.shape[1]):
        x, row = inputs[t, k], weights[k]
        if x != 0:
            for i in range(drive.shape[0]):
                drive[i] += x * row[i]


@borrowing
def add_all(total, weights, source):
    """Add ``source @ weights`` to `total`, four rows at a time."""
    n, j = total.shape[0], 0
    while j + 4 <= source.shape[0]:
        f0, f1, f2, f3 = source[j], source[j + 1], source[j + 2], source[j + 3]
        w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        for i in range(n):
            total[i] += (f0 * w0[i] + f1 * w1[i]) + (f2 * w2[i] + f3 * w3[i])
        j += 4
    while j < source.shape[0]:
        f0, w0 = source[j], weights[j]
        for i in range(n):
            total[i] += f0 * w0[i]
        j += 1


@borrowing
def dot_all(result, weights, vector):
    """Add ``weights @ vector`` to `result`, four rows at a time."""
    n, j, zero = vector.shape[0], 0, vector.dtype.type(0)
    while j + 4 <= result.shape[0]:
        w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for i in range(n):
            v = vector[i]
            s0 += w0[i] * v
            s1 += w1[i] * v
            s2 += w2[i] * v
            s3 += w3[i] * v
        result[j] += s0
        result[j + 1] += s1
        result[j + 2] += s2
        result[j + 3] += s3
        j += 4
    while j < result.shape[0]:
        s0, w0 = zero, weights[j]
        for i in range(n):
            s0 += w0[i] * vector[i]
        result[j] += s0
        j += 1
