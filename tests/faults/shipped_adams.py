"""In what the shipped Adams depart from what they are asked, and in nothing else."""

from __future__ import annotations

from parity.numerics.formats import FORMATS

NO_WEIGHT_MOVES = ("beta-power", "beta^t is formed in bfloat16: 1 - beta2^t is 0 and no weight moves")
KERAS = {
    "float64": {
        ("hyperparameter-rounding", "the betas of the bias correction are kept in float32"),
        ("hyperparameter-rounding", "lr is kept in float32"),
        ("hyperparameter-rounding", "weight_decay is kept in float32"),
    },
    "bfloat16": {NO_WEIGHT_MOVES},
}
KERAS_ON_JAX = {
    "float64": {("hyperparameter-rounding", "lr is kept in float32")},
    "bfloat16": {NO_WEIGHT_MOVES},
}
COUNTS_WHAT_IS_LEFT_OUT = ("step-count", "a step that a loss scale leaves out is counted, or leaves a trace")
OPTAX = {dtype: {("amsgrad", "the maximum is that of v after its bias correction")} for dtype in FORMATS}
TENSOR_LR = {
    "float64": {
        ("hyperparameter-rounding", "lr / (1 - beta1^t) is kept in float32"),
        ("hyperparameter-rounding", "1 - lr * weight_decay is kept in float32"),
    }
}
DIVIDED_BY_LR = (
    "non-finite",
    "where lr is 0, weights whose m and v are 0 become NaN: sqrt(v) is divided by lr",
)
LAZY = {
    ("sparse-rows", "m and v does not decay in rows whose gradient is zero"),
    ("sparse-rows", "weights of rows whose gradient is zero wait"),
    ("step-count", "t counts the gradients of each parameter, not the steps"),
}
SPARSE = dict.fromkeys(FORMATS, LAZY)
ANOTHER_EPS = ("epsilon-value", "eps = 0 silently means 1e-07")
KEPT_IN_FLOAT32 = {
    ("hyperparameter-rounding", detail)
    for detail in (
        "beta1 is kept in float32: 0.8000000119 where 0.8 was asked, 0.8999999762 where 0.9 was asked",
        "beta2 is kept in float32: 0.9499999881 where 0.95 was asked, 0.9990000129 where 0.999 was asked",
        "lr is kept in float32",
    )
}

DEPARTURES = {
    "numpy.adam.hat": {},
    "numpy.adam.outside": {},
    "numpy.adam.inside": {},
    "numpy.adam.hat.store": {},
    "torch.adam.forloop": {},
    "torch.adam.foreach": {},
    "torch.adam.fused": {},
    "keras.adam.eager": KERAS,
    "keras.adam.function": KERAS,
    "keras.adam.xla": KERAS,
    "keras.adamw.eager": KERAS,
    "keras.adamw.function": KERAS,
    "keras.adamw.xla": KERAS,
    "keras_jax.adam.eager": KERAS_ON_JAX,
    "keras_jax.adam.jit": KERAS_ON_JAX,
    # Where no weight moves, nobody sees what is counted.
    "tf_keras.adam.new": {
        dtype: {*KERAS.get(dtype, ()), *({COUNTS_WHAT_IS_LEFT_OUT} if dtype != "bfloat16" else ())} for dtype in FORMATS
    },
    "tensorflow.adam.kernel": {"bfloat16": {NO_WEIGHT_MOVES}},
    "tf_keras.adam.legacy": {
        "float64": {*KEPT_IN_FLOAT32, ANOTHER_EPS, COUNTS_WHAT_IS_LEFT_OUT},
        "float32": {ANOTHER_EPS, COUNTS_WHAT_IS_LEFT_OUT},
        "float16": {COUNTS_WHAT_IS_LEFT_OUT},
        "bfloat16": {NO_WEIGHT_MOVES},
    },
    "optax.adam.plain": OPTAX,
    "optax.adam.jit": OPTAX,
    "optax.adamw.plain": {},
    "optax.adamw.jit": {},
    "torch.adamw.forloop": {},
    "torch.adamw.foreach": {},
    "torch.adamw.fused": {},
    "torch.adam.differentiable": {
        **{dtype: {DIVIDED_BY_LR} for dtype in FORMATS},
        "float64": {
            DIVIDED_BY_LR,
            (
                "beta-power",
                "lr / (1 - beta1^t) is kept in float32, as is its product with sqrt(1 - beta2^t), "
                "and beta^t is formed in float32",
            ),
        },
    },
    "torch.adam.tensor_lr": TENSOR_LR,
    "torch.adam.tensor_lr.fused": {"float64": {("hyperparameter-rounding", "lr is kept in float32")}},
    "torch.adam.sparse": SPARSE,
}
"""By implementation and dtype: everything in which it is not the Adam that it was asked to be, but for rounding."""
