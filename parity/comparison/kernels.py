"""What is measured of the bits of two rows, as machine code: one pass over memory, block by block."""

from __future__ import annotations

import math

import numpy as np

from parity.numerics.jit import as_kind_of, bits_of, compiled, from_bits, number

BLOCK = 2048
"""Elements whose distances and differences stay in the nearest cache; sums are added block by block."""

LANES = 32
"""Partial sums of a block: element k is added to number ``k % LANES``, so that the order is the same everywhere."""

PIECE = 64 * BLOCK
"""Longer rows are measured piece by piece, which several threads may do."""

DIGIT = 11
"""Bits that a selection counts at a time."""

LOW, HIGH, SCALE = 2.0**-400, 2.0**450, 2.0**600
"""Differences of a block within LOW and HIGH are squared as they are, others times or over SCALE."""

# Columns of what is found.
DIFFERING, WORST, NONFINITE, OPPOSITE, ABOVE, REACHED = range(6)
ABSOLUTE, RELATIVE, SMALL, MIDDLE, BIG = range(5)


@compiled
def distances_of(left, right, out, magnitude, infinity):  # type: ignore[no-untyped-def]
    """ULP distances of the bits (n,) of two sides; magnitude: mask of all bits but the sign; all ones: no distance."""
    for k in range(len(left)):
        x, y = left[k], right[k]
        a, b = as_kind_of(x & magnitude, x), as_kind_of(y & magnitude, x)
        high, low = max(a, b), min(a, b)
        distance = as_kind_of(high + low, x) if (x ^ y) > magnitude else as_kind_of(high - low, x)
        # NaN of any payload equals NaN, and inf the same inf.
        unusual = as_kind_of(0, x) if (x == y) | (low > infinity) else as_kind_of(-1, x)
        out[k] = unusual if high >= infinity else distance


@compiled
def _count_nonfinite(bits, magnitude, infinity):  # type: ignore[no-untyped-def]
    count = np.uint32(0)
    for k in range(len(bits)):
        count = np.uint32(count + np.uint32((bits[k] & magnitude) >= infinity))
    return count


@compiled
def are_equal(left, right):  # type: ignore[no-untyped-def]
    """Whether the bits (n,) of two sides are the same, n > 0."""
    # What differs does so at its beginning nearly always: the rest need not be read twice.
    for k in range(min(len(left), LANES)):
        if left[k] != right[k]:
            return False
    differing = left[0] ^ left[0]
    for k in range(len(left)):
        differing = differing | (left[k] ^ right[k])
    return differing == 0


@compiled
def _sum_of_squares(values, lanes, scale):  # type: ignore[no-untyped-def]
    """Of ``values * scale``."""
    lanes[:] = 0.0
    # A length that the compiler does not know: it would unroll the loop and add numbers one by one.
    width = len(lanes)
    whole = len(values) // width * width
    fours = whole // (4 * width) * 4 * width
    for start in range(0, fours, 4 * width):
        first, second = values[start : start + width], values[start + width : start + 2 * width]
        third, fourth = values[start + 2 * width : start + 3 * width], values[start + 3 * width : start + 4 * width]
        for lane in range(width):
            a, b, c, d = first[lane] * scale, second[lane] * scale, third[lane] * scale, fourth[lane] * scale
            lanes[lane] = lanes[lane] + a * a + b * b + c * c + d * d
    for start in range(fours, whole, width):
        part = values[start : start + width]
        for lane in range(width):
            value = part[lane] * scale
            lanes[lane] += value * value
    total = 0.0
    for k in range(whole, len(values)):
        value = values[k] * scale
        total += value * value
    for lane in range(width):
        total += lanes[lane]
    return total


@compiled
def _greatest_quotient(differences, right, shift, scale):  # type: ignore[no-untyped-def]
    """The greatest of the differences (n,) over the magnitude of one side; of those that are 0 it is 0."""
    greatest = np.int64(0)
    for k in range(len(right)):
        gap = differences[k]
        quotient = gap / abs(number(right[k], shift, scale)) if gap > 0.0 else 0.0
        greatest = max(greatest, np.int64(bits_of(quotient)))
    return from_bits(np.uint64(greatest))


@compiled
def _halves(left, right, distance, none, differences, shift, scale):  # type: ignore[no-untyped-def]
    """The greatest quotient of a block in which a difference overflows, and its differences, halved."""
    relative = 0.0
    for k in range(len(left)):
        differences[k] = 0.0
        if distance[k] != 0 and distance[k] != none:
            a, b = number(left[k], shift, scale), number(right[k], shift, scale)
            half = abs(a * 0.5 - b * 0.5)
            differences[k] = half
            # Doubling last: the difference itself has no finite number.
            quotient = half / abs(b) * 2.0 if np.isinf(a - b) else abs(a - b) / abs(b)
            relative = max(relative, quotient)
    return relative


@compiled
def measure_piece(left, right, distances, differences, lanes, limit, layout, counts, reals):  # type: ignore[no-untyped-def]
    """The metrics of two pieces of bits (n,), n > 0; the greatest distance is returned.

    distances: unsigned; of more than BLOCK elements they are kept, and n may not be greater. differences: (BLOCK,)
    float64; lanes: (LANES,) float64. limit: distances above it, and not below it, are counted. layout: magnitude,
    infinity (bits), none (all ones), shift and scale of 16-bit formats. counts, reals: (6,) int64 and (5,) float64, as
    the columns say; sums of the squares of differences times SCALE, as they are, and over SCALE.
    Source: Blue 1978, "A Portable Fortran Program to Find the Euclidean Norm of a Vector".
    """
    magnitude, infinity, none, shift, scale = layout
    counts[:] = 0
    reals[:] = 0.0
    counts[WORST] = -1
    farthest = np.uint64(0)
    keep = len(distances) > BLOCK
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        size = stop - start
        x, y = left[start:stop], right[start:stop]
        distance = distances[start:stop] if keep else distances[:size]
        if are_equal(x, y):
            counts[NONFINITE] += _count_nonfinite(x, magnitude, infinity)
            counts[REACHED] += size if limit == 0 else 0
            if keep:
                distance[:] = 0
            continue
        distances_of(x, y, distance, magnitude, infinity)
        differing, unlike, unusual = np.uint32(0), np.uint32(0), np.uint32(0)
        above, reached = np.uint32(0), np.uint32(0)
        top = as_kind_of(0, none)
        for k in range(size):
            d = distance[k]
            differing = np.uint32(differing + np.uint32(d != 0))
            above = np.uint32(above + np.uint32(d > limit))
            reached = np.uint32(reached + np.uint32(d >= limit))
            top = max(top, d)
            high = as_kind_of(max(x[k] & magnitude, y[k] & magnitude), none)
            unlike = np.uint32(unlike + np.uint32((high == 0) & (x[k] != y[k])))
            unusual = np.uint32(unusual + np.uint32(high >= infinity))
        counts[DIFFERING] += differing
        counts[OPPOSITE] += unlike
        counts[NONFINITE] += unusual
        counts[ABOVE] += above
        counts[REACHED] += reached
        if differing == 0:
            continue
        if top > farthest:
            farthest = np.uint64(top)
            for k in range(size):
                if distance[k] == top:
                    counts[WORST] = start + k
                    break
        # Numbers that are not negative have the order of their bits, and integers have no NaN in a maximum.
        greatest, further = np.int64(0), np.uint32(0)
        difference, relative = differences[:size], reals[RELATIVE]
        for k in range(size):
            a, b = number(x[k], shift, scale), number(y[k], shift, scale)
            usual = (distance[k] != 0) & (distance[k] != none)
            gap = abs(a - b) if usual else 0.0
            difference[k] = gap
            greatest = max(greatest, np.int64(bits_of(gap)))
            # Rounding keeps order: who divides to more than the greatest quotient so far is at least this product.
            further = np.uint32(further + np.uint32((gap > 0.0) & (gap >= relative * abs(b))))
        if further:
            relative = _greatest_quotient(difference, y, shift, scale)
        absolute = from_bits(np.uint64(greatest))
        reals[ABSOLUTE] = max(reals[ABSOLUTE], absolute)
        if absolute > HIGH:
            once = 1.0
            if np.isinf(absolute):
                relative = _halves(x, y, distance, none, difference, shift, scale)
                once = 2.0
            reals[BIG] += _sum_of_squares(difference, lanes, once / SCALE)
        elif absolute >= LOW:
            reals[MIDDLE] += _sum_of_squares(difference, lanes, 1.0)
        elif absolute > 0.0:
            reals[SMALL] += _sum_of_squares(difference, lanes, SCALE)
        reals[RELATIVE] = max(reals[RELATIVE], relative)
    return farthest


@compiled
def root_mean_square(small, middle, big, size):  # type: ignore[no-untyped-def]
    """Of sums of squares of differences times SCALE, as they are, and over SCALE."""
    if big > 0.0:
        # In two steps: the square of SCALE has no finite number.
        return math.sqrt((big + middle / SCALE / SCALE) / size) * SCALE
    if middle > 0.0:
        return math.sqrt((middle + small / SCALE / SCALE) / size)
    return math.sqrt(small / size) / SCALE


@compiled
def count_digits(distances, prefix, above, shift, mask, histogram):  # type: ignore[no-untyped-def]
    """Add to a histogram the digits ``distance >> shift & mask`` of those with ``distance >> above == prefix``."""
    for k in range(len(distances)):
        d = np.uint64(distances[k])
        if above >= 64 or d >> np.uint64(above) == prefix:
            histogram[d >> np.uint64(shift) & mask] += 1


@compiled
def count_digits_of_row(left, right, layout, prefix, above, shift, mask, histogram):  # type: ignore[no-untyped-def]
    """As `count_digits`, of the distances of bits (n,) of two sides."""
    distances = np.empty(BLOCK, left.dtype)
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        part = distances[: stop - start]
        distances_of(left[start:stop], right[start:stop], part, layout[0], layout[1])
        count_digits(part, prefix, above, shift, mask, histogram)


@compiled
def collect_between(left, right, layout, low, high, out):  # type: ignore[no-untyped-def]
    """The distances from `low` to `high` of bits (n,) of two sides, into `out`; how many, and how many are above.

    -1 where `out` may be too short: after every BLOCK it has to have room for one more.
    """
    distances = np.empty(BLOCK, left.dtype)
    found, above = np.uint64(0), 0
    for start in range(0, len(left), BLOCK):
        stop = min(start + BLOCK, len(left))
        if found + np.uint64(stop - start) > np.uint64(len(out)):
            return -1, 0
        part = distances[: stop - start]
        distances_of(left[start:stop], right[start:stop], part, layout[0], layout[1])
        for k in range(len(part)):
            d = part[k]
            # Written in any case, as a branch would be guessed wrong.
            out[found] = d
            found += np.uint64((d >= low) & (d <= high))
            above += d > high
    return np.int64(found), above


@compiled
def digit_from_top(histogram, rank):  # type: ignore[no-untyped-def]
    """The digit that holds the value of a rank from the top (1 is the greatest), and the rank among those of it."""
    digit = len(histogram) - 1
    while histogram[digit] < rank:
        rank -= histogram[digit]
        digit -= 1
    return digit, rank


@compiled
def _select(distances, rank, top, histogram):  # type: ignore[no-untyped-def]
    """The distance of that rank from the top, of those up to `top`."""
    length = 0
    while length < 64 and top >> np.uint64(length) > 0:
        length += 1
    found, above = np.uint64(0), 64
    while length > 0:
        shift = max(length - DIGIT, 0)
        digits = histogram[: 1 << (length - shift)]
        digits[:] = 0
        count_digits(distances, found, above, shift, np.uint64(len(digits) - 1), digits)
        digit, rank = digit_from_top(digits, rank)
        found = (found << np.uint64(length - shift)) | np.uint64(digit)
        above, length = shift, shift
    return found


@compiled
def measure_rows(left, right, strides, rows, places, layout, counts, ulps, reals):  # type: ignore[no-untyped-def]
    """The metrics of whole rows, each place of them at most PIECE long.

    left, right: bits (n,), rows `strides` apart. rows: first and last but one. places: (places, 2) start and stop in a
    row. counts, ulps, reals: (places, 4 or 2 or 3, all rows), filled: differing, worst_index, nonfinite and
    opposite_zeros; greatest and 99th percentile of the distance, all ones of the format for none; max_abs, max_rel and
    rms_abs, without regard to distances that are none.
    """
    none = layout[2]
    longest = 1
    for place in range(len(places)):
        longest = max(longest, places[place, 1] - places[place, 0])
    distances = np.empty(max(longest, BLOCK), left.dtype)
    differences, lanes, histogram = np.empty(BLOCK), np.empty(LANES), np.empty(1 << DIGIT, np.int64)
    found, sums = np.empty(6, np.int64), np.empty(5)
    for row in range(rows[0], rows[1]):
        for place in range(len(places)):
            start, stop = places[place]
            size = stop - start
            if size == 0:
                counts[place, :, row], ulps[place, :, row], reals[place, :, row] = 0, 0, 0.0
                counts[place, WORST, row] = -1
                continue
            x = left[row * strides[0] + start : row * strides[0] + stop]
            y = right[row * strides[1] + start : row * strides[1] + stop]
            top = measure_piece(x, y, distances, differences, lanes, none, layout, found, sums)
            rank = size // 100 + 1
            ulps[place, 0, row] = top
            if rank == 1:
                ulps[place, 1, row] = top
            elif found[DIFFERING] < rank:
                ulps[place, 1, row] = 0
            else:
                ulps[place, 1, row] = _select(distances[:size], rank, top, histogram)
            for column in range(4):
                counts[place, column, row] = found[column]
            reals[place, 0, row], reals[place, 1, row] = sums[ABSOLUTE], sums[RELATIVE]
            reals[place, 2, row] = root_mean_square(sums[SMALL], sums[MIDDLE], sums[BIG], size)


@compiled
def measure_part(left, right, limit, layout, counts, ulps, reals):  # type: ignore[no-untyped-def]
    """As `measure_piece`, with memory of its own; ulps: (1,) uint64, the greatest distance."""
    distances, differences, lanes = np.empty(BLOCK, left.dtype), np.empty(BLOCK), np.empty(LANES)
    ulps[0] = measure_piece(left, right, distances, differences, lanes, limit, layout, counts, reals)


@compiled
def rows_are_equal(left, right, strides, rows, size):  # type: ignore[no-untyped-def]
    """Whether rows (rows, size) of two sides hold the same bits."""
    for row in range(rows):
        for start in range(0, size, BLOCK):
            x = left[row * strides[0] + start : row * strides[0] + min(start + BLOCK, size)]
            y = right[row * strides[1] + start : row * strides[1] + min(start + BLOCK, size)]
            if not are_equal(x, y):
                return False
    return True
