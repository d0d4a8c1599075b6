"""Answers to the exercises of chapter 05, right and wrong, as learners write them."""

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.objectives.causal import causal_loss, cross_entropy
from course_lib.training.optimisers import AdamW, orthogonalise
from course_lib.training.schedules import cosine_decay

# --- next_token_loss --------------------------------------------------------------------------------------------------


def loss_transposed(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])


def loss_by_loops(logits, labels):
    total, count = torch.zeros(()), 0
    for b in range(labels.shape[0]):
        for t in range(labels.shape[1] - 1):
            target = int(labels[b, t + 1])
            if target != -100:
                total = total - torch.log_softmax(logits[b, t], dim=0)[target]
                count += 1
    return total / count


def loss_gathered(logits, labels):
    targets = labels[:, 1:]
    log_p = logits[:, :-1].double().log_softmax(-1)
    real = (targets != -100).double()
    picked = log_p.gather(2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)
    return -(picked * real).sum() / real.sum()


def loss_of_the_library(logits, labels):
    return cross_entropy(logits[:, :-1], labels[:, 1:])


def loss_labels_moved(logits, labels):
    """As Hugging Face does: the labels move, and the last position gets none."""
    moved = F.pad(labels, (0, 1), value=-100)[:, 1:]
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), moved.reshape(-1))


def loss_copying(logits, labels):
    return F.cross_entropy(logits.reshape(-1, logits.size(-1)), labels.reshape(-1))


def loss_backwards(logits, labels):
    return F.cross_entropy(logits[:, 1:].transpose(1, 2), labels[:, :-1])


def loss_two_away(logits, labels):
    logits, labels = logits[:, :-1], labels[:, 1:]
    return loss_transposed(logits, labels)


def loss_rolled(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), torch.roll(labels, shifts=-1, dims=1))


def loss_flat_first(logits, labels):
    flat = logits.reshape(-1, logits.size(-1))
    return F.cross_entropy(flat[:-1], labels.reshape(-1)[1:])


def loss_summed(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="sum")


def loss_row_sums(logits, labels):
    each = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    return each.sum(dim=1).mean()


def loss_over_BT(logits, labels):
    B, T = labels.shape
    return loss_summed(logits, labels) / (B * T)


def loss_of_chances(logits, labels):
    chances = torch.softmax(logits, dim=-1)
    return F.cross_entropy(chances[:, :-1].transpose(1, 2), labels[:, 1:])


def loss_nll_of_logits(logits, labels):
    return F.nll_loss(logits[:, :-1].transpose(1, 2), labels[:, 1:])


def loss_nll_of_chances(logits, labels):
    chances = torch.softmax(logits, dim=-1)
    return F.nll_loss(chances[:, :-1].transpose(1, 2), labels[:, 1:])


def loss_log_at_the_end(logits, labels):
    chances = torch.softmax(logits[:, :-1], dim=-1)
    return -torch.log(torch.gather(chances, 2, labels[:, 1:, None]).mean())


def loss_softmax_over_time(logits, labels):
    log_p = torch.log_softmax(logits, dim=1)[:, :-1]
    return -log_p.gather(-1, labels[:, 1:, None]).mean()


def loss_viewed(logits, labels):
    B, T, V = logits.shape
    return F.cross_entropy(logits[:, :-1].reshape(B, V, T - 1), labels[:, 1:])


def loss_in_bits(logits, labels):
    chances = torch.softmax(logits[:, :-1], dim=-1)
    return -torch.log2(chances.gather(2, labels[:, 1:, None])).mean()


def loss_no_minus(logits, labels):
    return torch.log_softmax(logits[:, :-1], -1).gather(2, labels[:, 1:, None]).mean()


def loss_exp(logits, labels):
    return torch.exp(loss_transposed(logits, labels))


def loss_each(logits, labels):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")


def loss_mean_of_none(logits, labels):
    return loss_each(logits, labels).mean()


def loss_clamped(logits, labels):
    log_p = torch.log_softmax(logits[:, :-1], dim=-1)
    return -log_p.gather(2, labels[:, 1:].clamp(min=0)[..., None]).mean()


def loss_indexed(logits, labels):
    B, T = labels.shape
    log_p = torch.log_softmax(logits, dim=-1)
    return -sum(log_p[b, t, labels[b, t + 1]] for b in range(B) for t in range(T - 1)) / (B * (T - 1))


def loss_wrong_mask(logits, labels):
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:].clamp(min=0), reduction="none")
    real = labels[:, :-1] != -100
    return nats[real].mean()


def loss_row_means(logits, labels):
    return torch.stack([F.cross_entropy(row[:-1], ids[1:]) for row, ids in zip(logits, labels, strict=True)]).mean()


def loss_as_number(logits, labels):
    return loss_transposed(logits, labels).item()


# --- learning_rate ----------------------------------------------------------------------------------------------------


def rate_with_peak_step(step, steps, warmup, peak):
    """Counted from the step of the peak."""
    top, last = warmup - 1, steps - 1
    if step <= top:
        return (step + 1) * peak / warmup
    angle = math.pi * (step - top) / (last - top)
    return 0.55 * peak + 0.45 * peak * math.cos(angle)


def rate_by_sine(step, steps, warmup, peak):
    low = 0.1 * peak
    left = (steps - 1 - step) / (steps - warmup)
    return min((step + 1) / warmup * peak, low + (peak - low) * math.sin(math.pi / 2 * min(left, 1)) ** 2)


def rate_in_torch(step, steps, warmup, peak):
    up = torch.arange(1, warmup + 1, dtype=torch.float64) / warmup
    down = 0.1 + 0.9 * (1 + torch.cos(torch.linspace(0, torch.pi, steps - warmup + 1, dtype=torch.float64)[1:])) / 2
    return peak * torch.cat([up, down])[step]


def rate_from_zero(step, steps, warmup, peak):
    return peak * step / warmup if step < warmup else rate_with_peak_step(step, steps, warmup, peak)


def rate_linspace(step, steps, warmup, peak):
    return np.linspace(0, peak, warmup)[step] if step < warmup else rate_with_peak_step(step, steps, warmup, peak)


def rate_library(step, steps, warmup, peak):
    return peak * cosine_decay(warmup, to=0.1)(step, steps)


def rate_at_once(step, steps, warmup, peak):
    return peak if step <= warmup else rate_with_peak_step(step, steps, warmup, peak)


def rate_only_wave(step, steps, warmup, peak):
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * step / (steps - 1))))


def rate_factor(step, steps, warmup, peak):
    return rate_with_peak_step(step, steps, warmup, 1)


def rate_very_long_warmup(step, steps, warmup, peak):
    return peak * (step + 1) / steps


def rate_soft_start(step, steps, warmup, peak):
    return peak * (1 - math.cos(math.pi * (step + 1) / warmup)) / 2


def rate_downhill(step, steps, warmup, peak):
    return peak * (1 - step / warmup)


def decaying(done, low=0.1, shape=lambda done: (1 + math.cos(math.pi * done)) / 2):
    def learning_rate(step, steps, warmup, peak):
        if step < warmup:
            return peak * (step + 1) / warmup
        return peak * (low + (1 - low) * shape(done(step, steps, warmup)))

    return learning_rate


def right_share(step, steps, warmup):
    return (step - warmup + 1) / (steps - warmup)


def rate_with(formula):
    """``formula`` of the wave (1 to 0) and the peak."""

    def learning_rate(step, steps, warmup, peak):
        if step < warmup:
            return peak * (step + 1) / warmup
        return formula(0.5 + 0.5 * math.cos(math.pi * right_share(step, steps, warmup)), peak)

    return learning_rate


# --- adamw_step -------------------------------------------------------------------------------------------------------


def adamw_in_place(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    p, m, v = parameter.clone(), mean.clone(), mean_square.clone()
    p.mul_(1 - lr * decay)
    m.lerp_(gradient, 1 - betas[0])
    v.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    root = v.sqrt().div_(math.sqrt(1 - betas[1] ** step)).add_(eps)
    p.addcdiv_(m, root, value=-lr / (1 - betas[0] ** step))
    return p, m, v


def adamw_of_torch(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    p = nn.Parameter(parameter.clone())
    p.grad = gradient.clone()
    optimiser = torch.optim.AdamW([p], lr=lr, betas=betas, eps=eps, weight_decay=decay)
    kept = {"step": torch.tensor(float(step - 1)), "exp_avg": mean.clone(), "exp_avg_sq": mean_square.clone()}
    optimiser.state[p] = kept
    optimiser.step()
    return [p.detach(), kept["exp_avg"], kept["exp_avg_sq"]]


def adamw_of_the_library(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    p = nn.Parameter(parameter.clone())
    p.grad = gradient
    optimiser = AdamW([p], lr, betas, eps, decay)
    optimiser.state[p] = {"step": step - 1, "mean": mean.clone(), "mean_square": mean_square.clone()}
    optimiser.step()
    return p.detach(), optimiser.state[p]["mean"], optimiser.state[p]["mean_square"]


def adamw_by_numbers(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    rows = []
    for p, g, m, v in zip(*(x.flatten().tolist() for x in (parameter, gradient, mean, mean_square)), strict=True):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        ahead = m / (1 - betas[0] ** step) / (math.sqrt(v / (1 - betas[1] ** step)) + eps)
        rows.append((p - lr * (ahead + decay * p), m, v))
    return tuple(torch.tensor(column).view_as(parameter) for column in zip(*rows, strict=True))


def adamw_careless(
    share=lambda b: (b, 1 - b),
    swap=False,
    square=lambda g, m: g**2,
    fix_m=lambda m, b, t: m / (1 - b**t),
    fix_v=lambda v, b, t: v / (1 - b**t),
    root=lambda v, eps: v**0.5 + eps,
    sign=1,
    decays="apart",
    direction="mean",
    back=lambda p, m, v: (p, m, v),
):
    """AdamW as a learner writes it, careless in one way or another."""

    def adamw_step(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
        b1, b2 = betas[::-1] if swap else betas
        if decays == "gradient":
            gradient = gradient + decay * parameter
        m = share(b1)[0] * mean + share(b1)[1] * gradient
        v = share(b2)[0] * mean_square + share(b2)[1] * square(gradient, m)
        ahead = fix_m(m, b1, step) if direction == "mean" else gradient
        if decays == "direction":
            ahead = ahead + decay * parameter
        update = sign * ahead / root(fix_v(v, b2, step), eps)
        if direction == "gradient alone":
            update = gradient
        p = parameter.clone()
        if decays == "apart":
            p = p - lr * decay * p
        elif decays == "no rate":
            p = p - decay * p
        elif decays == "plus":
            p = p + lr * decay * p
        elif decays == "kept":
            p = p * decay if decay else p
        p = p - lr * update
        if decays == "after":
            p = p - lr * decay * p
        return back(p, m, v)

    return adamw_step


def adamw_forgetful(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    p, _, _ = adamw_in_place(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay)
    return p, mean, mean_square


def adamw_keeps_corrected(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    mean = (betas[0] * mean + (1 - betas[0]) * gradient) / (1 - betas[0] ** step)
    mean_square = (betas[1] * mean_square + (1 - betas[1]) * gradient**2) / (1 - betas[1] ** step)
    return parameter * (1 - lr * decay) - lr * mean / (mean_square.sqrt() + eps), mean, mean_square


def adamw_steps_first(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    m_hat, v_hat = mean / (1 - betas[0] ** step), mean_square / (1 - betas[1] ** step)
    p = parameter * (1 - lr * decay) - lr * m_hat / (v_hat.sqrt() + eps)
    return p, betas[0] * mean + (1 - betas[0]) * gradient, betas[1] * mean_square + (1 - betas[1]) * gradient**2


def adamw_eps_early(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    m = betas[0] * mean + (1 - betas[0]) * gradient
    v = betas[1] * mean_square + (1 - betas[1]) * gradient**2
    size = lr * math.sqrt(1 - betas[1] ** step) / (1 - betas[0] ** step)
    return parameter * (1 - lr * decay) - size * m / (v.sqrt() + eps), m, v


def adamw_in_the_callers_tensors(parameter, gradient, mean, mean_square, step, lr, betas, eps, decay):
    mean.lerp_(gradient, 1 - betas[0])
    mean_square.lerp_(gradient**2, 1 - betas[1])
    update = mean / (1 - betas[0] ** step) / ((mean_square / (1 - betas[1] ** step)).sqrt() + eps)
    return parameter * (1 - lr * decay) - lr * update, mean, mean_square


# --- accumulated ------------------------------------------------------------------------------------------------------


def grads_of(model):
    return [p.grad for p in model.parameters()]


def accumulated_library(model, parts):
    model.zero_grad()
    count = 0
    for part in parts:
        total, targets = causal_loss(model, part)
        total.backward()
        count += int(targets)
    return tuple(p.grad / count for p in model.parameters())


def accumulated_at_once(model, parts):
    """One batch, filled up to the longest."""
    T = max(ids.shape[1] for ids, _ in parts)
    ids = torch.cat([F.pad(ids, (0, T - ids.shape[1])) for ids, _ in parts])
    targets = torch.cat([F.pad(targets, (0, T - targets.shape[1]), value=-100) for _, targets in parts])
    loss = F.cross_entropy(model(ids).transpose(1, 2), targets)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def accumulated_weighed(model, parts):
    everything = sum(int((targets >= 0).sum()) for _, targets in parts)
    model.zero_grad()
    for ids, targets in parts:
        here = int((targets >= 0).sum())
        if here:
            mean = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
            (mean * here / everything).backward()
    return grads_of(model)


def accumulating(reduction="mean", divide=lambda parts, i: 1, skip=lambda parts, i: False, zero="before", shift=False):
    def accumulated(model, parts):
        if zero == "before":
            model.zero_grad()
        for i, (ids, targets) in enumerate(parts):
            if zero == "inside":
                model.zero_grad()
            if skip(parts, i):
                continue
            logits = model(ids)
            if shift:
                logits, targets = logits[:, :-1], targets[:, 1:]
            loss = F.cross_entropy(logits.transpose(1, 2), targets, reduction=reduction)
            (loss / divide(parts, i)).backward()
        return grads_of(model)

    return accumulated


def targets_in(parts, shifted=0):
    return sum(int((targets[:, shifted:] != -100).sum()) for _, targets in parts)


def size_in(parts):
    return sum(targets.numel() for _, targets in parts)


def rows_in(parts):
    return sum(len(ids) for ids, _ in parts)


def accumulated_weighed_nan(model, parts):
    return accumulating(divide=lambda parts, i: targets_in(parts) / targets_in(parts[i : i + 1]))(model, parts)


def accumulated_weighed_careless(model, parts):
    model.zero_grad()
    loss, count = torch.zeros(()), 0
    for ids, targets in parts:
        real = targets != -100
        nats = -torch.log_softmax(model(ids), dim=2).gather(2, targets.clamp(min=0)[..., None])[..., 0]
        loss = loss + real.sum() * ((nats * real).sum() / real.sum())
        count += real.sum()
    (loss / count).backward()
    return grads_of(model)


def accumulated_and_steps(model, parts):
    grads = accumulated_weighed(model, parts)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return grads


# --- careful_training -------------------------------------------------------------------------------------------------


def trained(model, batches, validation, lr, warmup, clip):
    """By hand, with a new optimiser in each step."""
    model, losses = copy.deepcopy(model), []
    for i, (ids, targets) in enumerate(batches, 1):
        model.train()
        model.zero_grad()
        F.cross_entropy(model(ids).flatten(0, 1), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        torch.optim.SGD(model.parameters(), lr=lr * min(i, warmup) / warmup).step()
        with torch.no_grad():
            model.eval()
            losses.append(F.cross_entropy(model(validation[0]).flatten(0, 1), validation[1].flatten()))
    return losses


def trained_with_a_scheduler(model, batches, validation, lr, warmup, clip):
    model, losses = copy.deepcopy(model), []
    optimiser = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, (step + 1) / warmup))
    for ids, targets in batches:
        optimiser.zero_grad()
        cross_entropy(model.train()(ids), targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimiser.step()
        scheduler.step()
        with torch.no_grad():
            losses.append(float(cross_entropy(model.eval()(validation[0]), validation[1])))
    return losses


def trained_functionally(model, batches, validation, lr, warmup, clip):
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = []
    for step, (ids, targets) in enumerate(batches):
        model.train()
        asked = {name: w.requires_grad_() for name, w in weights.items()}
        logits = torch.func.functional_call(model, asked, (ids,))
        grads = torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), targets.flatten()), list(asked.values()))
        length = math.sqrt(sum(float((g**2).sum()) for g in grads))
        rate = lr * min(1.0, (step + 1) / warmup) * min(1.0, clip / length)
        weights = {name: (w - rate * g).detach() for (name, w), g in zip(weights.items(), grads, strict=True)}
        model.eval()
        logits = torch.func.functional_call(model, weights, (validation[0],))
        losses.append(float(F.cross_entropy(logits.flatten(0, 1), validation[1].flatten())))
    return losses


def training(
    clips="between",
    how=nn.utils.clip_grad_norm_,
    rate=lambda now, lr, step, warmup: lr * min(1, (step + 1) / warmup),
    rate_after=None,
    first=None,
    zero="after",
    begin_mode=None,
    step_mode=True,
    validation_mode=False,
):
    """The colleague's loop after a learner's repairs, some of which are not done, or done wrong."""

    def train(model, batches, validation, lr, warmup, clip):
        model, losses = copy.deepcopy(model), []
        optimiser = torch.optim.SGD(model.parameters(), lr=lr)
        if begin_mode is not None:
            model.train(begin_mode)
        for step, (ids, targets) in enumerate(batches):
            if step_mode is not None:
                model.train(step_mode)
            for group in optimiser.param_groups:
                if rate_after is None:
                    group["lr"] = rate(group["lr"], lr, step, warmup)
            loss = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten())
            loss.backward()
            if zero == "between":
                optimiser.zero_grad()
            if clips == "between":
                how(model.parameters(), clip)
            optimiser.step()
            if clips == "after":
                how(model.parameters(), clip)
            if zero == "after":
                optimiser.zero_grad()
            if rate_after is not None:
                optimiser.param_groups[0]["lr"] = rate_after(lr, step, warmup)
            if validation_mode is not None:
                model.train(validation_mode)
            with torch.no_grad():
                losses.append(F.cross_entropy(model(validation[0]).flatten(0, 1), validation[1].flatten()).item())
        return losses

    return train


def compounds(now, lr, step, warmup):
    return now * min(1, (step + 1) / warmup)


def clip_each(parameters, clip):
    for p in parameters:
        nn.utils.clip_grad_norm_([p], clip)


def normalise(parameters, clip):
    parameters = list(parameters)
    length = nn.utils.get_total_norm([p.grad for p in parameters])
    for p in parameters:
        p.grad *= clip / length


def trained_in_place(model, batches, validation, lr, warmup, clip):
    losses = trained(model, batches, validation, lr, warmup, clip)
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1
    return losses


# --- judge_resuming ---------------------------------------------------------------------------------------------------


def judging(
    before=8,
    after=12,
    into="new",
    goes_on=True,
    compares_saved=True,
    against="whole",
    at_once=False,
    tolerance=0.0,
    late=0,
    loads=True,
):
    """A learner's test, careless in one way or another."""

    def judge(start):
        if at_once:
            whole, saved, resumed = start(), start(), start()
            truth = [whole.step() for _ in range(before + after)]
        else:
            whole = start()
            truth = [whole.step() for _ in range(before + after)]
            saved, resumed = start(), None
        first = [saved.step() for _ in range(before)]
        state = saved.state_dict()
        rest = [saved.step() for _ in range(after)] if goes_on else truth[before:]
        if compares_saved:
            assert all(math.isclose(x, y, rel_tol=tolerance) for x, y in zip(truth, first + rest, strict=True))
        if against == "saved":
            truth = first + rest
        resumed = resumed or (start() if into == "new" else saved)
        if loads:
            resumed.load_state_dict(state)
        again = [resumed.step() for _ in range(after)]
        expected = truth[before + late :][:after]
        assert all(math.isclose(x, y, rel_tol=tolerance) for x, y in zip(again, expected, strict=False))

    return judge


def judge_in_tensors(start):
    """Saves at every step of two epochs and a half, and returns True or False."""
    training = start()
    losses, states = [], []
    for _ in range(15):
        states.append(training.state_dict())
        losses.append(training.step())
    untouched = start()
    if not torch.equal(torch.tensor(losses), torch.tensor([untouched.step() for _ in range(15)])):
        return False
    for number, state in enumerate(states):
        other = start()
        other.load_state_dict(state)
        if [other.step() for _ in range(15 - number)] != losses[number:]:
            return False
    return True


def judge_killed_often(start):
    """Killed after every few steps, by way of deep copies."""
    training = start()
    truth = [training.step() for _ in range(30)]
    training, seen = start(), truth[:0]
    while len(seen) < 30:
        seen += [training.step() for _ in range(4)]
        state = training.state_dict()
        after = [training.step() for _ in range(2)]
        assert (seen + after)[:30] == truth[: len(seen) + 2]
        training = start()
        training.load_state_dict(copy.deepcopy(state))
    assert seen[:30] == truth


def judge_nothing(start):
    training = start()
    training.load_state_dict(training.state_dict())
    assert isinstance(training.step(), float)


def judge_reads_the_state(start):
    training = start()
    assert "weights" in training.state_dict()
    assert training.state_dict()["weights"] is not None


def judge_looks_for_a_name(start):
    judging()(start)
    state = start().state_dict()
    assert isinstance(state, dict)


def judge_one_loss(start):
    judging(after=1)(start)


def judge_typo(start):
    training = start()
    assert training.steps(5)


# --- orthogonalised ---------------------------------------------------------------------------------------------------


def polynomial_horner(matrices, coefficients, steps):
    x = F.normalize(matrices.flatten(1), dim=1).view_as(matrices)
    eye = torch.eye(x.shape[-2])
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        factor = torch.zeros_like(gram)
        for c in reversed(coefficients):
            factor = factor @ gram + c * eye
        x = factor @ x
    return x


def polynomial_one_by_one(matrices, coefficients, steps):
    out = torch.zeros_like(matrices, dtype=torch.float64)
    for n, matrix in enumerate(matrices.double()):
        x = matrix / max(float(matrix.norm()), 1e-12)
        for _ in range(steps):
            x = sum(c * torch.linalg.matrix_power(x @ x.T, i) @ x for i, c in enumerate(coefficients))
        out[n] = x
    return out


def polynomial_by_svd(matrices, coefficients, steps):
    u, s, vt = torch.linalg.svd(matrices, full_matrices=False)
    s = s / (s.square().sum(-1, keepdim=True).sqrt() + 1e-9)
    for _ in range(steps):
        s = sum(c * s ** (2 * i + 1) for i, c in enumerate(coefficients))
    return torch.einsum("nri,ni,nic->nrc", u, s, vt)


def polynomial_small_side(matrices, coefficients, steps):
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.pow(2).sum((1, 2), keepdim=True).sqrt() + 1e-10)
    for _ in range(steps):
        gram, term, total = x @ x.mT, x, 0
        for c in coefficients:
            total = total + c * term
            term = gram @ term
        x = total
    return x.mT if tall else x


def polynomial(shorten=lambda x: x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-12), powers=None, more=0, end=None):
    def orthogonalised(matrices, coefficients, steps):
        x = shorten(matrices)
        for _ in range(steps + more):
            x = powers(x, coefficients) if powers else plain_powers(x, coefficients)
        return end(x, matrices) if end else x

    return orthogonalised


def plain_powers(x, coefficients):
    total, term = torch.zeros_like(x), x
    for c in coefficients:
        total, term = total + c * term, x @ x.mT @ term
    return total


def powers_entrywise(x, coefficients):
    return sum(c * x ** (2 * i + 1) for i, c in enumerate(coefficients))


def powers_reversed(x, coefficients):
    return plain_powers(x, list(reversed(coefficients)))


def powers_cubic_only(x, coefficients):
    total = coefficients[0] * x
    for c in coefficients[1:]:
        total = total + c * x @ x.mT @ x
    return total


def powers_scalar_added(x, coefficients):
    gram = x @ x.mT
    factor = coefficients[0]
    for i, c in enumerate(coefficients[1:], 1):
        factor = factor + c * torch.linalg.matrix_power(gram, i)
    return factor @ x


def powers_too_high(x, coefficients):
    gram = x @ x.mT
    return sum(c * torch.linalg.matrix_power(gram, i) @ x for i, c in enumerate(coefficients, 1))


def powers_shortened(x, coefficients):
    return plain_powers(x / x.norm(dim=(1, 2), keepdim=True), coefficients)


def polynomial_gram_outside(matrices, coefficients, steps):
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    gram = x @ x.mT
    for _ in range(steps):
        x = sum(c * torch.linalg.matrix_power(gram, i) @ x for i, c in enumerate(coefficients))
    return x


def polynomial_returns_early(matrices, coefficients, steps):
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    for _ in range(steps):
        x = plain_powers(x, coefficients)
        break
    return x


def polynomial_not_turned_back(matrices, coefficients, steps):
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mT
    return polynomial()(matrices, coefficients, steps)


def polynomial_muon(matrices, coefficients, steps):
    return polynomial()(matrices, coefficients, steps) * 0.2 * math.sqrt(max(matrices.shape[1:]))


def polynomial_exact(matrices, coefficients, steps):
    u, _, vt = torch.linalg.svd(matrices, full_matrices=False)
    return u @ vt


def polynomial_library(matrices, coefficients, steps):
    return orthogonalise(matrices, steps=steps)


def polynomial_three_only(matrices, coefficients, steps):
    a, b, c = coefficients
    return polynomial()(matrices, (a, b, c), steps)


RIGHT = {
    "next_token_loss": [
        ("transposed", loss_transposed),
        ("loops", loss_by_loops),
        ("gather in float64", loss_gathered),
        ("the library", loss_of_the_library),
        ("labels move, as in Hugging Face", loss_labels_moved),
    ],
    "learning_rate": [
        ("counted from the step of the peak", rate_with_peak_step),
        ("the square of a sine, and min", rate_by_sine),
        ("all rates in PyTorch, one picked", rate_in_torch),
    ],
    "adamw_step": [
        ("in place on copies", adamw_in_place),
        ("PyTorch's own", adamw_of_torch),
        ("the library's", adamw_of_the_library),
        ("number by number", adamw_by_numbers),
    ],
    "accumulated": [
        ("sums, divided at the end", accumulated_library),
        ("one large batch", accumulated_at_once),
        ("means, weighed by their targets", accumulated_weighed),
    ],
    "careful_training": [
        ("a new optimiser in each step", trained),
        ("PyTorch's scheduler", trained_with_a_scheduler),
        ("without in-place changes", trained_functionally),
        ("the loop, repaired", training()),
    ],
    "judge_resuming": [
        ("the plan", judging()),
        ("a state before every step, True or False", judge_in_tensors),
        ("killed again and again", judge_killed_often),
        ("other numbers of steps", judging(before=3, after=17)),
        ("into the training that was saved", judging(into="same")),
    ],
    "orthogonalised": [
        ("Horner's rule", polynomial_horner),
        ("one by one in float64", polynomial_one_by_one),
        ("singular values", polynomial_by_svd),
        ("on the small side", polynomial_small_side),
    ],
}

WRONG = {
    "next_token_loss": [
        ("not_shifted", loss_copying),
        ("shifted_back", loss_backwards),
        ("by_two", loss_two_away),
        ("rolled", loss_rolled),
        ("across_rows", loss_flat_first),
        ("summed", loss_summed),
        ("summed_over_positions", loss_row_sums),
        ("divided_by_all_positions", loss_over_BT),
        ("softmax_twice", loss_of_chances),
        ("softmax_missing", loss_nll_of_logits),
        ("log_missing", loss_nll_of_chances),
        ("log_of_mean", loss_log_at_the_end),
        ("over_positions", loss_softmax_over_time),
        ("poured", loss_viewed),
        ("bits", loss_in_bits),
        ("minus_missing", loss_no_minus),
        ("perplexity", loss_exp),
        ("not_averaged", loss_each),
        ("ignored_counted", loss_mean_of_none),
        ("ignored_as_token_0", loss_clamped),
        ("ignored_from_the_end", loss_indexed),
        ("mask_of_inputs", loss_wrong_mask),
        ("mean_of_rows", loss_row_means),
        ("no_gradient", loss_as_number),
    ],
    "learning_rate": [
        ("starts_at_zero", rate_from_zero),
        ("from_zero_to_peak", rate_linspace),
        ("of_the_chapter", rate_library),
        ("no_warmup", rate_at_once),
        ("decays_already", rate_only_wave),
        ("peak_ignored", rate_factor),
        ("over_all_steps", rate_very_long_warmup),
        ("rises_in_a_wave", rate_soft_start),
        ("falls", rate_downhill),
        ("counted_from_zero", decaying(lambda step, steps, warmup: (step + 1) / steps)),
        ("counted_from_step_0", decaying(lambda step, steps, warmup: step / (steps - 1))),
        ("counted_from_0_to_steps", decaying(lambda step, steps, warmup: step / steps)),
        ("divided_by_all_steps", decaying(lambda step, steps, warmup: (step - warmup + 1) / steps)),
        ("end_never_reached", decaying(lambda step, steps, warmup: (step - warmup) / (steps - warmup))),
        ("peak_twice", decaying(lambda step, steps, warmup: (step - warmup) / (steps - warmup - 1))),
        ("past_the_end", decaying(lambda step, steps, warmup: (step - warmup + 1) / (steps - warmup - 1))),
        ("floor_added", rate_with(lambda wave, peak: peak * wave + 0.1 * peak)),
        ("floor_cut", rate_with(lambda wave, peak: max(peak * wave, 0.1 * peak))),
        ("floor_of_its_own", rate_with(lambda wave, peak: peak * wave + 0.1 * (1 - wave))),
        ("to_zero", decaying(right_share, low=0.0)),
        ("whole_wave", decaying(right_share, shape=lambda done: 0.5 + 0.5 * math.cos(2 * math.pi * done))),
        ("quarter_wave", decaying(right_share, shape=lambda done: math.cos(done * math.pi / 2))),
        ("degrees", decaying(right_share, shape=lambda done: 0.5 + 0.5 * math.cos(180 * done))),
        ("one_missing", decaying(right_share, shape=lambda done: math.cos(math.pi * done))),
        ("half_missing", decaying(right_share, shape=lambda done: 1 + math.cos(math.pi * done))),
        ("straight", decaying(right_share, shape=lambda done: 1 - done)),
        ("rises_again", decaying(right_share, shape=lambda done: 0.5 - 0.5 * math.cos(math.pi * done))),
        ("stays_at_peak", decaying(lambda step, steps, warmup: 0.0)),
        ("peak_ignored", rate_with(lambda wave, peak: 0.1 + 0.9 * wave)),
    ],
    "adamw_step": [
        ("betas_swapped", adamw_careless(swap=True)),
        ("shares_swapped", adamw_careless(share=lambda b: (1 - b, b))),
        ("shares_missing", adamw_careless(share=lambda b: (b, 1))),
        ("added_up", adamw_careless(share=lambda b: (1, 1))),
        ("not_squared", adamw_careless(square=lambda g, m: g, root=lambda v, eps: v.abs() ** 0.5 + eps)),
        ("mean_squared", adamw_careless(square=lambda g, m: m**2)),
        ("not_renewed", adamw_forgetful),
        ("corrected_kept", adamw_keeps_corrected),
        ("decay_in_gradient", adamw_careless(decays="gradient")),
        ("other_order", adamw_careless(back=lambda p, m, v: (p, v, m))),
        ("no_correction", adamw_careless(fix_m=lambda m, b, t: m, fix_v=lambda v, b, t: v)),
        ("mean_corrected_only", adamw_careless(fix_v=lambda v, b, t: v)),
        ("square_corrected_only", adamw_careless(fix_m=lambda m, b, t: m)),
        (
            "one_step_ahead",
            adamw_careless(
                fix_m=lambda m, b, t: m / (1 - b ** (t + 1)),
                fix_v=lambda v, b, t: v / (1 - b ** (t + 1)),
            ),
        ),
        (
            "one_step_behind",
            adamw_careless(
                fix_m=lambda m, b, t: m / (1 - b ** (t - 1)),
                fix_v=lambda v, b, t: v / (1 - b ** (t - 1)),
            ),
        ),
        (
            "correction_of_step_1",
            adamw_careless(fix_m=lambda m, b, t: m / (1 - b), fix_v=lambda v, b, t: v / (1 - b)),
        ),
        ("correction_outside_root", adamw_careless(fix_v=lambda v, b, t: v / (1 - b**t) ** 2)),
        ("eps_inside_root", adamw_careless(root=lambda v, eps: (v + eps) ** 0.5)),
        ("eps_before_correction", adamw_eps_early),
        ("eps_missing", adamw_careless(root=lambda v, eps: v**0.5)),
        ("root_missing", adamw_careless(root=lambda v, eps: v + eps)),
        ("uphill", adamw_careless(sign=-1)),
        ("gradient_not_mean", adamw_careless(direction="gradient")),
        ("moments_from_before", adamw_steps_first),
        ("plain_descent", adamw_careless(direction="gradient alone")),
        ("decay_missing", adamw_careless(decays="never")),
        ("decay_without_rate", adamw_careless(decays="no rate")),
        ("decay_grows", adamw_careless(decays="plus")),
        ("decay_to_the_rate", adamw_careless(decays="kept")),
        ("decay_in_direction", adamw_careless(decays="direction")),
        ("decay_after", adamw_careless(decays="after")),
        ("changed_input", adamw_in_the_callers_tensors),
    ],
    "accumulated": [
        ("mean_of_means", accumulating(divide=lambda parts, i: len(parts))),
        ("means_added", accumulating()),
        ("never_divided", accumulating("sum")),
        ("divided_by_parts", accumulating("sum", divide=lambda parts, i: len(parts))),
        ("divided_by_positions", accumulating("sum", divide=lambda parts, i: size_in(parts))),
        ("divided_by_rows", accumulating("sum", divide=lambda parts, i: rows_in(parts))),
        ("divided_by_the_last", accumulating("sum", divide=lambda parts, i: targets_in(parts[-1:]))),
        ("weighed_by_rows", accumulating(divide=lambda parts, i: rows_in(parts) / rows_in(parts[i : i + 1]))),
        ("weighed_by_positions", accumulating(divide=lambda parts, i: size_in(parts) / size_in(parts[i : i + 1]))),
        ("last_only", accumulating(zero="inside")),
        ("first_only", accumulating(skip=lambda parts, i: i > 0)),
        ("earlier_thrown_away", accumulating("sum", divide=lambda parts, i: targets_in(parts), zero="inside")),
        ("shifted_again", accumulating("sum", divide=lambda parts, i: targets_in(parts, shifted=1), shift=True)),
        ("old_gradients_kept", accumulating("sum", divide=lambda parts, i: targets_in(parts), zero="never")),
        ("empty_part_nan", accumulated_weighed_careless),
        ("raised", accumulated_weighed_nan),
        ("changed_input", accumulated_and_steps),
    ],
    "careful_training": [
        ("clips_too_late", training(clips="after", rate=compounds, step_mode=None)),
        ("clips_too_late", training(clips="never")),
        ("each_number_clipped", training(how=nn.utils.clip_grad_value_)),
        ("each_parameter_clipped", training(how=clip_each)),
        ("always_that_long", training(how=normalise)),
        ("gradients_add_up", training(zero="never")),
        ("nothing_learned", training(zero="between", how=lambda parameters, clip: None)),
        ("factors_multiply_up", training(rate=compounds, step_mode=None)),
        ("warmup_gone", training(rate=lambda now, lr, step, warmup: lr)),
        ("first_step_lost", training(rate=lambda now, lr, step, warmup: lr * min(1, step / warmup))),
        ("rises_on", training(rate=lambda now, lr, step, warmup: lr * (step + 1) / warmup)),
        ("one_step_late", training(rate_after=lambda lr, step, warmup: lr * min(1, (step + 1) / warmup))),
        ("stays_in_evaluation", training(step_mode=None)),
        ("stays_in_evaluation", training(begin_mode=True, step_mode=None)),
        ("always_in_evaluation", training(step_mode=False)),
        ("validates_with_dropout", training(validation_mode=None)),
        ("modes_exchanged", training(step_mode=False, validation_mode=True)),
        ("changed_input", trained_in_place),
    ],
    "judge_resuming": [
        ("asserts_nothing", judge_nothing),
        ("misses_restores_nothing", judging(before=0)),
        ("raised", judge_reads_the_state),
        ("raised", judge_typo),
        ("refuses_everything", judging(late=1)),
        ("refuses_everything", judging(loads=False)),
        ("refuses_shared_numbers", judging(at_once=True)),
        ("refuses_counting", judge_looks_for_a_name),
        ("misses_forgets_step", judge_one_loss),
        ("misses_shuffles_anew", judging(before=6)),
        ("misses_forgets_next_epoch", judging(before=8, after=4)),
        ("misses_rounds", judging(tolerance=1e-2)),
        ("misses_live_state", judging(goes_on=False)),
        ("misses_saving_disturbs", judging(compares_saved=False)),
        ("misses_saving_draws", judging(compares_saved=False, against="saved")),
    ],
    "orthogonalised": [
        ("not_shortened", polynomial(shorten=lambda x: x)),
        ("shortened_together", polynomial(shorten=lambda x: x / x.norm())),
        ("by_largest_value", polynomial(shorten=lambda x: x / torch.linalg.svdvals(x)[:, :1, None])),
        ("by_largest_entry", polynomial(shorten=lambda x: x / x.flatten(1).abs().max(1).values[:, None, None])),
        ("each_row_shortened", polynomial(shorten=lambda x: x / x.norm(dim=2, keepdim=True))),
        ("shortened_each_time", polynomial(powers=powers_shortened)),
        ("powers_of_entries", polynomial(powers=powers_entrywise)),
        ("coefficients_reversed", polynomial(powers=powers_reversed)),
        ("square_forgotten", polynomial(powers=powers_cubic_only)),
        ("number_for_identity", polynomial(powers=powers_scalar_added)),
        ("one_power_too_high", polynomial(powers=powers_too_high)),
        ("product_kept", polynomial_gram_outside),
        ("one_step", polynomial_returns_early),
        ("one_step_too_many", polynomial(more=1)),
        ("one_step_too_few", polynomial(more=-1)),
        ("turned", polynomial_not_turned_back),
        ("norm_put_back", polynomial(end=lambda x, before: x * before.norm(dim=(1, 2), keepdim=True))),
        ("size_of_muon", polynomial_muon),
        ("perfect", polynomial_exact),
        ("of_the_chapter", polynomial_library),
        ("raised", polynomial_three_only),
        ("nan_for_zeros", polynomial(shorten=lambda x: x / x.norm(dim=(1, 2), keepdim=True))),
    ],
}
