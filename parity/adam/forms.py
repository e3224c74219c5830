"""The forms in which Adams compute a stage; every value is a program in the language of `parity.adam.kernels`.

All forms of an enumeration are the same function of real numbers (those of `Update`, for one epsilon placement).
Arrays: w, m, v, vmax, the gradient g, and x, which is vmax under AMSGrad and v elsewhere. Scalars: lr, eps, wd
(weight_decay); b1, b2: betas of the moments; c1, c2: 1 - beta; k1, k2: 1 - beta^t; i1, i2: 1 / k; r2: sqrt(k2);
step: -lr / k1; alpha: lr * r2 / k1; back: -lr; decay: lr * wd; shrink: 1 - lr * wd; divisor: r2 * step; shift and
wide_shift: eps / step. Lines that begin with
``decoupled:``, ``l2:``, ``without l2:`` or ``amsgrad:`` belong to the form only where that is asked for, those with
``given:`` or ``formed:`` where the gradient is as it was given or its elements were changed before the step (``kept:``
or ``changed:``: also by L2 decay or a norm; ``unclipped:`` or ``clipped:``: by those or a limit), ``together:`` or
``apart:`` where nothing or a loss scale stands between update and weights, ``light:`` or ``heavy:`` where c1 is less
than 1/2 or not, those with ``with eps:`` or ``without eps:`` where eps, rounded, is another number than 0 or not.
`Clipping`, `Reduction` and `Rates`, what is done around a step, are words.
"""

from __future__ import annotations

from enum import StrEnum

from parity.adam.convention import Epsilon


class FirstMoment(StrEnum):
    """m, from m and g."""

    AVERAGE = "m = b1 * m + c1 * g"
    AVERAGE_FMA_NEW = "m = fma(c1, g, b1 * m)"
    AVERAGE_FMA_OLD = "m = fma(b1, m, c1 * g)"
    AVERAGE_FMA_L2 = "without l2: m = fma(c1, g, b1 * m); l2: m = fma(b1, m, c1 * g)"
    AVERAGE_FMA_FORMED = "given: m = fma(c1, g, b1 * m); formed: m = fma(b1, m, c1 * g)"
    AVERAGE_FMA_L2_FORMED = "kept: m = fma(c1, g, b1 * m); changed: m = fma(b1, m, c1 * g)"
    DIFFERENCE = "m = m + (g - m) * c1"
    DIFFERENCE_FMA = "m = fma(g - m, c1, m)"
    LERP = "m = lerp(m, g, c1)"
    BLEND = "m = blend(m, g, c1)"
    BLEND_FOLDED = "light: m = c1 * (g - m) + m; heavy: m = folded * (g - m) + g"
    DECAYED_THEN_ADDED = "m = m - m * c1; m = m + c1 * g"
    TWO_KERNELS = "m = b1 * m; d = c1 * g; m = m + d"
    TWO_KERNELS_FMA = "m = b1 * m; m = fma(c1, g, m)"


class SecondMoment(StrEnum):
    """v, from v and g."""

    AVERAGE = "v = b2 * v + c2 * (g * g)"
    AVERAGE_LEFT = "v = b2 * v + (c2 * g) * g"
    AVERAGE_FMA_NEW = "v = fma(c2, g * g, b2 * v)"
    AVERAGE_FMA_LEFT = "v = fma(c2 * g, g, b2 * v)"
    AVERAGE_FMA_OLD = "v = fma(b2, v, c2 * (g * g))"
    AVERAGE_FMA_OLD_LEFT = "v = fma(b2, v, (c2 * g) * g)"
    AVERAGE_FMA_L2 = "without l2: v = fma(c2, g * g, b2 * v); l2: v = fma(b2, v, c2 * (g * g))"
    AVERAGE_FMA_CLIPPED = "unclipped: v = fma(c2, g * g, b2 * v); clipped: v = fma(b2, v, c2 * (g * g))"
    TWO_KERNELS_LEFT = "v = b2 * v; v = v + (c2 * g) * g"
    TWO_KERNELS_FMA_LEFT = "v = b2 * v; v = fma(c2 * g, g, v)"
    SQUARE_TWO_KERNELS = "q = g * g; v = b2 * v; d = c2 * q; v = v + d"
    SQUARE_TWO_KERNELS_FMA = "q = g * g; v = b2 * v; v = fma(c2, q, v)"
    DIFFERENCE = "v = v + (g * g - v) * c2"
    DIFFERENCE_FMA = "v = fma(g * g - v, c2, v)"
    DECAYED_THEN_ADDED = "v = v - v * c2; v = v + c2 * (g * g)"
    DIFFERENCE_TWO_FMA = "v = fma(fma(g, g, -v), c2, v)"


class Largest(StrEnum):
    """vmax, from vmax and v: they differ where v is NaN."""

    NAN_WINS = "vmax = maximum(vmax, v)"
    NAN_IS_PASSED_OVER = "vmax = larger(vmax, v)"


class Update(StrEnum):
    """w, from w, m and x; every name begins with the epsilon placement of the form."""

    OUTSIDE = "w = w - (lr * (m / k1)) / (sqrt(x / k2) + eps)"
    OUTSIDE_TORCH = "d = sqrt(x); d = d / r2; d = d + eps; w = w + (step * m) / d"
    OUTSIDE_TORCH_TENSORS = "d = sqrt(x); d = d / divisor; d = d + shift; w = w + m / d"
    OUTSIDE_TORCH_TENSORS_WIDE = "d = sqrt(x); w = w + m / (d / divisor + wide_shift)"
    OUTSIDE_RECIPROCALS = """
        h = v * i2; amsgrad: vmax = maximum(vmax, h); amsgrad: h = vmax;
        u = (m * i1) / (sqrt(h) + eps); decoupled: u = u + wd * w; w = w + back * u
    """
    OUTSIDE_RECIPROCALS_FMA = """
        h = v * i2; amsgrad: vmax = maximum(vmax, h); amsgrad: h = vmax;
        with eps: u = (m * i1) / (sqrt(h) + eps);
        without eps: y = rsqrt(h); without eps: u = (m * i1) * y; decoupled: u = fma(wd, w, u);
        together: w = fma(back, u, w); apart: w = w + back * u
    """
    OUTSIDE_QUOTIENTS = """
        h = v / k2; amsgrad: vmax = maximum(vmax, h); amsgrad: h = vmax;
        u = (m / k1) / (sqrt(h) + eps); decoupled: u = u + wd * w; w = w + back * u
    """
    OUTSIDE_QUOTIENTS_FMA = """
        h = v / k2; amsgrad: vmax = maximum(vmax, h); amsgrad: h = vmax;
        with eps: u = m / (k1 * (sqrt(h) + eps));
        without eps: y = rsqrt(h); without eps: u = (m / k1) * y; decoupled: u = fma(wd, w, u);
        together: w = fma(back, u, w); apart: w = w + back * u
    """
    OUTSIDE_XLA_HALF = """
        h = v * i2; amsgrad: vmax = maximum(vmax, h); amsgrad: h = vmax;
        with eps: u = (m * i1) / (sqrt(h) + eps);
        without eps: y = rsqrt(h); without eps: u = (m * i1) * y;
        decoupled: u = u + wd * w; w = w + back * u
    """
    OUTSIDE_XLA_HALF_ALONE = """
        h = v / k2; amsgrad: vmax = maximum(vmax, h); amsgrad: h = vmax;
        with eps: u = m / (k1 * (sqrt(h) + eps));
        without eps: y = rsqrt(h); without eps: u = (m / k1) * y;
        decoupled: u = u + wd * w; w = w + back * u
    """
    HAT = "w = w - (alpha * m) / (sqrt(x) + eps)"
    HAT_QUOTIENT_FIRST = "w = w - alpha * (m / (sqrt(x) + eps))"
    HAT_FACTOR_FIRST = "w = w - ((lr * (r2 / k1)) * m) / (sqrt(x) + eps)"
    HAT_XLA = """
        with eps: w = w - (alpha * m) / (sqrt(x) + eps);
        without eps: y = rsqrt(x); without eps: w = fma(-(alpha * m), y, w)
    """
    HAT_XLA_HALF = """
        with eps: w = w - (alpha * m) / (sqrt(x) + eps);
        without eps: y = 1 / sqrt(x); without eps: w = w - (alpha * m) * y
    """
    HAT_JAX_HALF = """
        with eps: w = w - (alpha * m) / (sqrt(x) + eps);
        without eps: y = rsqrt(x); without eps: w = w - (alpha * m) * y
    """
    HAT_KERNELS = "n = alpha * m; d = sqrt(x); d = d + eps; n = n / d; w = w - n"
    INSIDE = "w = w - (lr * (m / k1)) / sqrt(x / k2 + eps)"

    @property
    def epsilon(self) -> Epsilon:
        """Where eps stands in this form."""
        return Epsilon[self.name.partition("_")[0]]


class DecayGradient(StrEnum):
    """L2: g, from g and w."""

    PRODUCT_THEN_SUM = "g = g + wd * w"
    FMA = "g = fma(wd, w, g)"
    TWO_KERNELS = "d = wd * w; g = g + d"


class DecayWeights(StrEnum):
    """Decoupled: w, from w, before the update."""

    ONE_FACTOR = "w = shrink * w"
    SUBTRACTED = "w = w - (w * wd) * lr"
    SUBTRACTED_FOLDED = "w = w - w * decay"
    SUBTRACTED_FMA = "w = fma(-(w * wd), lr, w)"
    SUBTRACTED_FOLDED_FMA = "w = fma(-w, decay, w)"
    IN_UPDATE = ""


class Clipping(StrEnum):
    """How a gradient g whose tensor or tensors have the norm n is scaled to a limit c, each operation rounded.

    PLAIN: ``g * (c / n)`` where not n <= c. TORCH: ``g * min(1 / (n + 1e-6) * c, 1)``; torch/nn/utils/clip_grad.py,
    torch 2.13. KERAS: ``g * (c * min(1 / n, 1 / c) + (n - n))``; keras/src/optimizers/base_optimizer.py, Keras 3.15.1;
    of a single tensor ``g * c / max(n, c)``; both so in tensorflow/python/ops/clip_ops.py, TensorFlow 2.21.
    KERAS_COMPILED: the same in a graph or under XLA, where a mean is formed by a product. OPTAX:
    ``g * (1 / n) * c`` where not n < c, as XLA divides by a scalar, or ``g / n * c`` of a single element;
    optax/transforms/_clipping.py, optax 0.2.8. OPTAX_COMPILED: the quotient also where several tensors share the norm.
    """

    PLAIN = "plain"
    TORCH = "torch"
    KERAS = "keras"
    KERAS_COMPILED = "keras_compiled"
    OPTAX = "optax"
    OPTAX_COMPILED = "optax_compiled"


class Reduction(StrEnum):
    """In which order squares are summed up, in float32 where the dtype is a half.

    EXACT: one rounding, as if in real numbers. VECTORS: n sums side by side, 32 bytes wide, then one after another;
    of the rest first squares in fours, then fma (torch, linalg.vector_norm), FUSED_VECTORS: fma alone (before torch
    2.8), FUSED: one sum, by fma (before torch 2.0), UNFUSED_VECTORS: without fma. HALVES: n sums side by side, halves
    of them added until one is left, and the sum of the rest at last (Eigen; up to 31 elements). IN_ORDER: one after
    another, tensors in the order of their names (XLA, up to 31 elements), CONTRACTED: with fma (compiled).
    """

    EXACT = "exact"
    VECTORS = "vectors"
    FUSED_VECTORS = "fused_vectors"
    FUSED = "fused"
    UNFUSED_VECTORS = "unfused_vectors"
    HALVES = "halves"
    IN_ORDER = "in_order"
    CONTRACTED = "contracted"


class Averaging(StrEnum):
    """How a running average a of the weights w is formed, each operation rounded; d: its momentum.

    PRODUCTS: ``d * a + (1 - d) * w``. LERP: ``a + (1 - d) * (w - a)``, one fma (torch). What begins at 0 is the former,
    and is divided by 1 - d**t, or multiplied by its INVERSE (also where a row is a single tensor), which is a float32
    where it is WIDE_INVERSE (XLA).
    """

    PRODUCTS = "products"
    LERP = "lerp"
    INVERSE = "inverse"
    WIDE_INVERSE = "wide_inverse"


class Rates(StrEnum):
    """How lr is formed where a schedule is asked for; formulas: `parity.core.stages.Decay`.

    DOUBLE: as they stand. TORCH: cosine decay from the lr before, and up again past its end; one cycle with phases that
    end a step earlier; else DOUBLE. KERAS: in float32, of the number of batches. OPTAX: in float32, and all but
    exponential decay in double for float64 weights; XLA's own cosine is now and then an ULP from the rounded one.
    """

    DOUBLE = "double"
    TORCH = "torch"
    KERAS = "keras"
    OPTAX = "optax"


_HOST = """
    double b1 = beta1 as {kept}
    double b2 = beta2 as {kept}
    double c1 = 1 - beta1 as {kept}
    double c2 = 1 - beta2 as {kept}
    double k1 = 1 - power(beta1, t) as {kept}
    double k2 = 1 - power(beta2, t) as {kept}
    double i1 = 1 / (1 - power(beta1, t)) as {kept}
    double i2 = 1 / (1 - power(beta2, t)) as {kept}
    double r2 = sqrt(1 - power(beta2, t)) as {kept}
    double step = -(lr / (1 - power(beta1, t))) as {kept}
    double alpha = lr * sqrt(1 - power(beta2, t)) / (1 - power(beta1, t)) as {kept}
    double shrink = 1 - lr * wd as {kept}
    double decay = lr * wd as {kept}
    double back = -lr as {kept}
    double lr = lr as {kept}
    double eps = eps as {kept}
    double wd = wd as {kept}
"""


_KERAS = """
    float32 lr = lr as dtype
    float32 b1 = beta1 as dtype
    float32 b2 = beta2 as dtype
    float32 wd = wd as dtype
    working eps = eps as dtype
    double c1 = 1 - beta1 as working
    double c2 = 1 - beta2 as working
    working c1 = c1 as dtype
    working c2 = c2 as dtype
    dtype k1 = 1 - power(b1, t)
    dtype k2 = 1 - power(b2, t)
"""

_IN_DTYPE = """
    dtype r2 = sqrt(k2)
    dtype alpha = (lr * sqrt(k2)) / k1
    dtype i1 = 1 / k1
    dtype i2 = 1 / k2
    dtype step = -(lr / k1)
    dtype decay = wd * lr
    dtype shrink = 1 - wd * lr
    dtype back = -lr
"""


_TENSORS = """
    float32 k1 = 1 - power(beta1, t)
    float32 k2 = 1 - power(beta2, t)
    float32 step = -((1 / k1) * lr)
    float32 divisor = {root}(k2) * step
    float32 wide_shift = (1 / step) * eps
    float32 shift = (1 / step) * eps as dtype
    double folded = 1 - beta1 - 1 as working
"""

_KEPT_IN_DOUBLE = ("double k1 =", "double k2 =", "double step =")


def _without_tensors(text: str) -> str:
    """Factors without those that are formed in tensors."""
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith(_KEPT_IN_DOUBLE))


_DERIVED = """
    working divisor = r2 * step
    working wide_shift = eps / step
    working shift = eps / step
    working folded = -b1
"""


class Factors(StrEnum):
    """The scalars of a step, from lr, beta1, beta2, eps and weight_decay, which are doubles, and t.

    Each line says in which format it computes, every operation rounded: double, float32, dtype (that of the weights)
    or working (float32 for float16 and bfloat16), and in which format it keeps the result, if in another. Operands
    are rounded to the format of the line first.
    """

    ROUNDED_ONCE = _HOST.format(kept="dtype")
    IN_WORKING_FORMAT = _HOST.format(kept="working")
    TORCH_KERNELS = (
        IN_WORKING_FORMAT.replace("r2 = sqrt(1 - power(beta2, t))", "r2 = power(1 - power(beta2, t), 0.5)")
        .replace("eps as working", "eps as dtype")
        .replace("double wd = wd as working", "double wd = wd as dtype")
    )
    TORCH_FOREACH = TORCH_KERNELS.replace("b2 = beta2 as working", "b2 = beta2 as dtype").replace(
        "shrink = 1 - lr * wd as working", "shrink = 1 - lr * wd as dtype"
    )
    TORCH_HALF_LERP = (
        TORCH_KERNELS.replace("b1 = beta1 as working", "b1 = beta1 as dtype")
        .replace("b2 = beta2 as working", "b2 = beta2 as dtype")
        .replace("0.5) as working", "0.5) as dtype")
        .replace("shrink = 1 - lr * wd as working", "shrink = 1 - lr * wd as dtype")
    )
    TORCH_HALF_SUM = TORCH_HALF_LERP.replace("c1 = 1 - beta1 as working", "c1 = 1 - beta1 as dtype")
    TORCH_TENSORS = _TENSORS.format(root="root") + _without_tensors(TORCH_KERNELS)
    TORCH_COMPILED = _TENSORS.format(root="sqrt") + _without_tensors(IN_WORKING_FORMAT)
    TORCH_TENSOR_LR = "float32 lr = lr" + TORCH_KERNELS.replace(
        "double step = -(lr / (1 - power(beta1, t))) as working", "float32 step = -(lr / k1)"
    ).replace("double shrink = 1 - lr * wd as working", "float32 shrink = 1 - lr * wd")
    TORCH_FUSED_TENSOR_LR = "float32 lr = lr" + IN_WORKING_FORMAT
    KERAS = _KERAS + _IN_DTYPE
    KERAS_GRAPH = KERAS.replace("working eps", "double eps").replace("as working\n", "as dtype\n")
    KERAS_JAX = KERAS.replace("float32 b", "double b").replace("float32 wd", "double wd")
    KERAS_JAX_GRAPH = KERAS_GRAPH.replace("float32 b", "double b").replace("float32 wd", "double wd")
    KERAS_TORCH = (
        (_KERAS + _IN_DTYPE)
        .replace("float32 lr = lr as dtype", "float32 lr = lr as working")
        .replace("float32 b", "working b")
        .replace("float32 wd = wd as dtype", "float32 wd = wd as working")
        .replace("sqrt(k2)", "root(k2)")
        .replace("dtype shrink = 1 - wd * lr", "float32 shrink = 1 - wd * lr as working")
    )
    KERAS_TORCH_HALF = KERAS_TORCH.replace("root(k2)", "sqrt(k2)")
    KERAS_WIDE = (_KERAS + _IN_DTYPE).replace("    dtype ", "    working ")
    TENSORFLOW_KERNEL = (
        """
        working lr = lr as dtype
        working b1 = beta1 as dtype
        working b2 = beta2 as dtype
        working wd = wd as dtype
        working eps = eps as dtype
        dtype c1 = 1 - b1
        dtype c2 = 1 - b2
        dtype k1 = 1 - repeated(b1, t)
        dtype k2 = 1 - repeated(b2, t)
        """
        + _IN_DTYPE
    )
    TF_KERAS_LEGACY = (
        """
        float32 lr = lr as dtype
        float32 b1 = beta1 as dtype
        float32 b2 = beta2 as dtype
        float32 wd = wd as dtype
        working eps = eps as dtype
        dtype c1 = 1 - b1
        dtype c2 = 1 - b2
        dtype k1 = 1 - power(b1, t)
        dtype k2 = 1 - power(b2, t)
        """
        + _IN_DTYPE
    )
    OPTAX = (
        """
        double c1 = 1 - beta1 as working
        double c2 = 1 - beta2 as working
        working c1 = c1 as dtype
        working c2 = c2 as dtype
        working b1 = beta1 as dtype
        working b2 = beta2 as dtype
        working lr = lr as dtype
        working eps = eps as dtype
        working wd = wd as dtype
        working k1 = 1 - power(beta1, t) as dtype
        working k2 = 1 - power(beta2, t) as dtype
        """
        + _IN_DTYPE
    )
    OPTAX_WIDE_INVERSE = OPTAX.replace("dtype i1", "working i1").replace("dtype i2", "working i2")
    OPTAX_SQUARING = OPTAX.replace("power(", "squaring(")

    @property
    def whole(self) -> str:
        """With the scalars of which it says nothing."""
        return self.value if "divisor" in self.value else self.value + _DERIVED
