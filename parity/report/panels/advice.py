"""What to set so that two frameworks do the same around Adam, and what is so in them, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass

TORCH, KERAS, OPTAX = "torch", "keras", "optax"


@dataclass(frozen=True, slots=True)
class Advice:
    """stage: as `CellResult.stages` names it; between: two frameworks; text: what to set; fact: what is so in them.

    Code stands between backticks.
    """

    stage: str
    between: tuple[str, str]
    text: str
    fact: str


def advice_on(stage: str, frameworks: frozenset[str]) -> tuple[Advice, ...]:
    """What is known of a stage between any two of some frameworks."""
    return tuple(one for one in ADVICE if one.stage == stage and frameworks >= set(one.between))


ADVICE = (
    Advice("clip.value", (TORCH, KERAS),
           "`clip_grad_value_(parameters, c)` is `clipvalue=c`; nothing else has to be set.",
           "Both hold every element between -c and c before anything else is done with it."),
    Advice("clip.value", (TORCH, OPTAX),
           "`clip_grad_value_(parameters, c)` is `optax.clip(c)` at the head of the chain.",
           "Both hold every element between -c and c; behind L2 decay in the chain, it would be held with the "
           "gradient."),
    Advice("clip.value", (KERAS, OPTAX),
           "`clipvalue=c` is `optax.clip(c)` at the head of the chain.",
           "Both hold every element between -c and c."),
    Advice("clip.norm", (TORCH, KERAS),
           "`clipnorm=c` is `clip_grad_norm_([p], c)` of every tensor p alone, not `clip_grad_norm_(parameters, "
           "c)`.",
           "`clipnorm` holds each tensor's own norm n against c; torch divides by `n + 1e-6`, and no argument "
           "takes that away."),
    Advice("clip.norm", (TORCH, OPTAX),
           "Label every tensor, and give `optax.partition` a chain of `clip_by_global_norm(c)` and adam for each "
           "label: that is `clip_grad_norm_([p], c)` of every tensor p alone.",
           "optax clips elements, or all tensors together, and no single ones; it divides by n, torch by `n + "
           "1e-6`."),
    Advice("clip.norm", (KERAS, OPTAX),
           "Label every tensor, and give `optax.partition` a chain of `clip_by_global_norm(c)` and adam for each "
           "label: that is `clipnorm=c`.",
           "optax clips elements, or all tensors together, and no single ones."),
    Advice("clip.global_norm", (TORCH, KERAS),
           "`clip_grad_norm_(parameters, c)` is `global_clipnorm=c`; `clipnorm=c` is another thing, each tensor by "
           "its own norm.",
           "`clip_grad_norm_` adds 1e-6 to the norm n, Keras does not: a factor of `n / (n + 1e-6)` stays, "
           "whatever is set."),
    Advice("clip.global_norm", (TORCH, OPTAX),
           "`clip_grad_norm_(parameters, c)` is `optax.clip_by_global_norm(c)` at the head of the chain.",
           "`clip_grad_norm_` adds 1e-6 to the norm n, optax does not: a factor of `n / (n + 1e-6)` stays, "
           "whatever is set."),
    Advice("clip.global_norm", (KERAS, OPTAX),
           "`global_clipnorm=c` is `optax.clip_by_global_norm(c)` at the head of the chain.",
           "Both scale by `c / n`; Keras as `c * min(1 / n, 1 / c)`, optax as a division by n and a product with "
           "c."),
    Advice("loss_scale", (TORCH, KERAS),
           "Begin at the same scale, a power of two (`init_scale`, `initial_scale`), and keep the weights in "
           "float32.",
           "`GradScaler` begins at 65,536, `LossScaleOptimizer` at 32,768; `GradScaler` refuses float16 gradients. "
           "Both double after 2,000 steps, halve where a gradient is not finite, and do not count the step that is "
           "left out."),
    Advice("loss_scale", (TORCH, OPTAX),
           "Scale the loss and the gradients by hand, and leave steps out by `apply_if_finite(adam, 1 << 30)`.",
           "optax has no loss scale; `apply_if_finite` lets through what is not finite after "
           "`max_consecutive_errors`."),
    Advice("loss_scale", (KERAS, OPTAX),
           "Scale the loss and the gradients by hand, and leave steps out by `apply_if_finite(adam, 1 << 30)`.",
           "optax has no loss scale; `apply_if_finite` lets through what is not finite after "
           "`max_consecutive_errors`."),
    Advice("accumulate", (TORCH, KERAS),
           "Divide the loss by k and step after every k-th backward: that is `gradient_accumulation_steps=k`; hand "
           "Keras a schedule that divides its step by k (`step // k`).",
           "Under `gradient_accumulation_steps` Keras hands its schedule the number of batches, not that of "
           "updates."),
    Advice("accumulate", (TORCH, OPTAX),
           "Divide the loss by k and step after every k-th backward: that is `optax.MultiSteps(adam, k)`.",
           "`MultiSteps` forms a running mean, `a + (g - a) / n`, where torch adds up: the same mean, rounded "
           "differently."),
    Advice("accumulate", (KERAS, OPTAX),
           "`gradient_accumulation_steps=k` is `optax.MultiSteps(adam, k)`; hand Keras a schedule that divides its "
           "step by k (`step // k`).",
           "Keras hands its schedule the number of batches, optax that of updates."),
    Advice("maximize", (TORCH, KERAS),
           "Negate the loss in Keras.",
           "Keras's optimizers have no maximize; torch's takes the gradient times -1, before L2 decay is added."),
    Advice("maximize", (TORCH, OPTAX),
           "`maximize=True` is `optax.scale(-1.0)` before adam in the chain, and before L2 decay.",
           "torch takes the gradient times -1, before L2 decay is added."),
    Advice("maximize", (KERAS, OPTAX),
           "`optax.scale(-1.0)` before adam in the chain is a negated loss in Keras.",
           "Keras's optimizers have no maximize."),
    Advice("rows", (TORCH, KERAS),
           "Make the gradient dense (`Embedding(sparse=False)`) and take `torch.optim.Adam`: that is Keras, which "
           "moves all rows; what `SparseAdam` does Keras has not.",
           "`torch.optim.Adam` refuses rows, `SparseAdam` leaves alone those that have none, their moments too; in "
           "Keras moments decay, and weights move, in all."),
    Advice("rows", (TORCH, OPTAX),
           "Make the gradient dense (`Embedding(sparse=False)`) and take `torch.optim.Adam`.",
           "The gradient of an embedding is dense in JAX, and optax has no Adam that leaves rows alone."),
    Advice("rows", (KERAS, OPTAX),
           "Nothing has to be set: a dense gradient does in optax what rows do in Keras.",
           "In both moments decay, and weights move, in all rows; the gradient of an embedding is dense in JAX."),
    Advice("schedule.cosine", (TORCH, KERAS),
           "`CosineAnnealingLR(optimizer, N, eta_min=alpha * lr)` is `CosineDecay(lr, N, alpha)` for N updates: "
           "step it no more after them.",
           "`CosineAnnealingLR` goes up again past its end, `CosineDecay` stays; Keras forms lr in float32."),
    Advice("schedule.cosine", (TORCH, OPTAX),
           "`CosineAnnealingLR(optimizer, N, eta_min=alpha * lr)` is `cosine_decay_schedule(lr, N, alpha)` for N "
           "updates: step it no more after them.",
           "`CosineAnnealingLR` goes up again past its end, `cosine_decay_schedule` stays."),
    Advice("schedule.cosine", (KERAS, OPTAX),
           "`CosineDecay(lr, N, alpha)` is `cosine_decay_schedule(lr, N, alpha)`.",
           "Both stay at `alpha * lr` past the end; Keras forms lr in float32, optax in float64 where x64 is "
           "switched on."),
    Advice("schedule.exponential", (TORCH, KERAS),
           "`ExponentialDecay(lr, N, rate)` is `LambdaLR` with `rate ** (n / N)`.",
           "Keras forms lr in float32, torch in double."),
    Advice("schedule.exponential", (TORCH, OPTAX),
           "`exponential_decay(lr, N, rate)` is `LambdaLR` with `rate ** (n / N)`.",
           "optax forms lr in float32, with float64 weights too; torch in double."),
    Advice("schedule.exponential", (KERAS, OPTAX),
           "`ExponentialDecay(lr, N, rate)` is `exponential_decay(lr, N, rate)`.",
           "Both form lr in float32."),
    Advice("schedule.inverse_time", (TORCH, KERAS),
           "`InverseTimeDecay(lr, N, rate)` is `LambdaLR` with `1 / (1 + rate * n / N)`.",
           "Keras forms lr in float32, torch in double."),
    Advice("schedule.inverse_time", (TORCH, OPTAX),
           "Hand optax a function of its own: `lambda n: lr / (1 + rate * n / N)`.",
           "optax has no schedule of this kind; any function of the count is one."),
    Advice("schedule.inverse_time", (KERAS, OPTAX),
           "`InverseTimeDecay(lr, N, rate)` is, for optax, `lambda n: lr / (1 + rate * n / N)`.",
           "optax has no schedule of this kind; any function of the count is one."),
    Advice("schedule.one_cycle", (TORCH, KERAS),
           "Give Keras a `LearningRateSchedule` of your own with the formula of `OneCycleLR`, and that "
           "`cycle_momentum=False`.",
           "Keras has no schedule of one cycle; `OneCycleLR` moves beta1 as well, unless it is told not to."),
    Advice("schedule.one_cycle", (TORCH, OPTAX),
           "`cosine_onecycle_schedule(N, lr, p)` is `OneCycleLR` with `total_steps=N + 1`, `pct_start=(int(p * N) "
           "+ 1) / (N + 1)`, `cycle_momentum=False` and the same factors.",
           "Both phases of `OneCycleLR` end one step earlier than those of `cosine_onecycle_schedule`."),
    Advice("schedule.one_cycle", (KERAS, OPTAX),
           "Give Keras a `LearningRateSchedule` of your own with the formula of `cosine_onecycle_schedule`.",
           "Keras has no schedule of one cycle."),
    Advice("average", (TORCH, KERAS),
           "Copy the weights of `AveragedModel` back every k steps: that is `ema_overwrite_frequency=k`.",
           "`AveragedModel` never overwrites the weights that it averages; both begin with the weights after the "
           "first step."),
    Advice("average", (TORCH, OPTAX),
           "`incremental_update(w, average, 1 - momentum)` after every step is `AveragedModel`; overwrite by hand "
           "on both sides.",
           "Neither overwrites weights by their average; `optax.ema` averages updates, not weights."),
    Advice("average", (KERAS, OPTAX),
           "`incremental_update(w, average, 1 - momentum)` after every step, put in place of w every k steps, is "
           "`use_ema` with `ema_overwrite_frequency=k`.",
           "Nothing in optax overwrites weights by their average; `optax.ema` averages updates, not weights."),
    Advice("average.beside", (TORCH, KERAS),
           "`AveragedModel` with `get_ema_multi_avg_fn(momentum)`, updated after every step, is `use_ema` with "
           "`ema_momentum=momentum` and `ema_overwrite_frequency=None`; set the momentum on both sides.",
           "Both begin as the weights after the first step; the momentum is 0.999 in torch and 0.99 in Keras."),
    Advice("average.beside", (TORCH, OPTAX),
           "Begin `optax.EmaState` with the weights of the first step and set `debias=False`; or take "
           "`incremental_update(w, average, 1 - momentum)`.",
           "`optax.ema` begins at 0 and divides by `1 - momentum**t`, `AveragedModel` begins as the first weights."),
    Advice("average.beside", (KERAS, OPTAX),
           "Begin `optax.EmaState` with the weights of the first step and set `debias=False`; or take "
           "`incremental_update(w, average, 1 - momentum)`.",
           "`optax.ema` begins at 0 and divides by `1 - momentum**t`, `use_ema` begins as the first weights."),
    Advice("state.master", (TORCH, KERAS),
           "Float32 parameters with half copies for the model in torch are variables of Keras under the policy "
           "`mixed_bfloat16` or `mixed_float16`.",
           "Both step in float32 on gradients in float32; the model sees the rounded weights."),
    Advice("state.master", (TORCH, OPTAX),
           "Keep the parameters in float32 on both sides, and cast them, and the gradients back, at the model.",
           "Both step in float32 on gradients in float32; the model sees the rounded weights."),
    Advice("state.master", (KERAS, OPTAX),
           "Keep the parameters in float32 in optax, and cast them at the model, as Keras's mixed policies do.",
           "Both step in float32 on gradients in float32; the model sees the rounded weights."),
    Advice("state.moments", (TORCH, KERAS),
           "Take master weights on both sides.",
           "Neither keeps moments in another dtype than their weights."),
    Advice("state.moments", (TORCH, OPTAX),
           "Leave `mu_dtype` away, or take master weights on both sides.",
           "`mu_dtype` is the dtype of optax's first moment alone; torch's moments have that of their weights."),
    Advice("state.moments", (KERAS, OPTAX),
           "Leave `mu_dtype` away, or take master weights on both sides.",
           "`mu_dtype` is the dtype of optax's first moment alone; Keras's moments have that of their weights."),
    Advice("groups", (TORCH, KERAS),
           "Give the tensors of each torch group an optimizer of their own by `keras.optimizers.MultiOptimizer`.",
           "A Keras optimizer has one lr, one pair of betas and one epsilon for all variables."),
    Advice("groups", (TORCH, OPTAX),
           "Give `optax.partition` an adam for each torch group, and the label of its group to every tensor.",
           "lr of a group is a value in both, not a factor."),
    Advice("groups", (KERAS, OPTAX),
           "What `optax.partition` does with labels `keras.optimizers.MultiOptimizer` does with an optimizer for "
           "some variables.",
           "A Keras optimizer has one lr, one pair of betas and one epsilon for all variables."),
    Advice("groups.weight_decay", (TORCH, KERAS),
           "`exclude_from_weight_decay(var_list=...)`, before the first step, is a torch group with "
           "`weight_decay=0`.",
           "Its `var_names` are searched for in the names of variables: one that is found nowhere leaves all "
           "decayed."),
    Advice("groups.weight_decay", (TORCH, OPTAX),
           "`adamw(mask=...)`, False where nothing is to decay, is a torch group with `weight_decay=0`.",
           "The mask is a tree of bools like the parameters, or a function that gives one."),
    Advice("groups.weight_decay", (KERAS, OPTAX),
           "`exclude_from_weight_decay(var_list=...)`, before the first step, is `adamw(mask=...)` that is False "
           "there.",
           "Its `var_names` are searched for in the names of variables: one that is found nowhere leaves all "
           "decayed."),
    Advice("defaults", (TORCH, KERAS),
           "Set eps, and for AdamW `weight_decay`, on both sides.",
           "eps is 1e-8 in torch and 1e-7 in Keras; AdamW decays by 0.01 in torch and by 0.004 in Keras."),
    Advice("defaults", (TORCH, OPTAX),
           "Set `weight_decay` for adamw on both sides.",
           "AdamW decays by 0.01 in torch, adamw by 1e-4 in optax; eps is 1e-8 in both."),
    Advice("defaults", (KERAS, OPTAX),
           "Set eps, and for AdamW `weight_decay`, on both sides.",
           "eps is 1e-7 in Keras and 1e-8 in optax; AdamW decays by 0.004 in Keras, adamw by 1e-4 in optax."),
)  # fmt: skip
"""Frameworks at their defaults unless said; N: steps of a schedule; c: a limit; n: a norm, or updates made before."""
