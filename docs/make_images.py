"""Draw the pictures of README.md and of the gallery from real fits: ``python docs/make_images.py``."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib
import numpy as np

import bayeslmm as blm

matplotlib.use("agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent / "images"
BLUE, RED = "#30638e", "#d1495b"
PEERS = {
    "lme4": BLUE,
    "gpboost": "#00798c",
    "statsmodels": "#8d6a9f",
    "bambi": RED,
    "explicit": "#edae49",
    "merf": "#66a182",
}


def main() -> None:
    """Fit sleepstudy both ways; draw the subjects' slopes and the two standard deviations."""
    model = blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", blm.load_dataset("sleepstudy"))
    reml = model.fit(method="reml")
    bayes = model.fit(method="nuts", seed=1, progressbar=False)
    figure, (slopes, spread) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(3, 2), layout="constrained")
    draw_slopes(slopes, reml, bayes)
    draw_standard_deviations(spread, reml, bayes)
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "sleepstudy.png", dpi=110)
    draw_gallery()
    draw_performance()
    draw_explanation()
    draw_report()


def draw_report() -> None:
    """Draw the first screen of a report, where Chromium is installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return
    model = blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", blm.load_dataset("sleepstudy"))
    with tempfile.TemporaryDirectory() as place:
        page = Path(place, "report.html")
        model.fit("importance", seed=1).report(page, compare=model.fit("reml"))
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=900,760"]
        subprocess.run(
            [chromium, *options, f"--screenshot={IMAGES / 'report.png'}", page.as_uri()],
            check=True,
            capture_output=True,
        )


def draw_performance() -> None:
    """Draw how many times as long each peer takes, from the newest table of the benchmarks."""
    newest = max((IMAGES.parent.parent / "benchmarks" / "results").glob("20*.json"))
    measured = json.loads(newest.read_text(encoding="utf-8"))
    rows = [
        row
        for row in measured["rows"]
        if row.get("ratio") and row["against"].split()[0] in PEERS and "unchecked" not in row["against"]
    ]
    rows.sort(key=lambda row: row["ratio"])
    place = np.arange(len(rows))
    figure, axes = plt.subplots(figsize=(8.5, 0.36 * len(rows) + 1.1), layout="constrained")
    colors = [PEERS[row["against"].split()[0]] for row in rows]
    axes.barh(place, [row["ratio"] - 1 for row in rows], left=1, color=colors, height=0.62)
    for at, row in zip(place, rows, strict=True):
        axes.annotate(f"{row['ratio']:.3g}", (row["ratio"], at), xytext=(4, 0), textcoords="offset points", va="center")
    labels = [f"{row['row'].replace('`', '').replace(', compilation included', '')}" for row in rows]
    axes.set(xscale="log", yticks=place, yticklabels=labels, xlabel="times as long as bayeslmm")
    axes.set_xlim(1, 3 * max(row["ratio"] for row in rows))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    used = dict.fromkeys(row["against"].split()[0] for row in rows)
    handles = [plt.Rectangle((0, 0), 1, 1, color=PEERS[name]) for name in used]
    axes.legend(
        handles, ["explicit PyMC" if name == "explicit" else name for name in used], frameon=False, loc="lower right"
    )
    figure.savefig(IMAGES / "performance.png", dpi=100)


def draw_explanation() -> None:
    """Draw the pictures of how_it_works.md."""
    sleep = blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", blm.load_dataset("sleepstudy"))
    pictures = {
        "blocks": draw_blocks(),
        "marginal": draw_marginal(),
        "importance": draw_importance(sleep),
        "priors": draw_priors(sleep),
    }
    for name, figure in pictures.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=100)


def draw_blocks() -> plt.Figure:
    """Draw the bordered matrix of two crossed factors and its Cholesky factor."""
    rng = np.random.default_rng(1)
    pupils, teachers, rows = 60, 12, 240
    columns = np.zeros((rows, pupils + teachers + 3))
    columns[np.arange(rows), np.arange(rows) % pupils] = 1
    columns[np.arange(rows), pupils + rng.integers(0, teachers, rows)] = 1
    columns[:, pupils + teachers :] = np.column_stack([np.ones(rows), rng.normal(size=(rows, 2))])
    matrix = columns.T @ columns
    matrix[np.arange(pupils + teachers), np.arange(pupils + teachers)] += 1
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.2), layout="constrained")
    for axis, shown, title in zip(
        axes, (matrix, np.linalg.cholesky(matrix)), ("Ω, bordered by X and y", "its Cholesky factor"), strict=True
    ):
        axis.imshow(np.where(np.abs(shown) > 1e-9, 1.0, np.nan), cmap="Blues", vmin=0, vmax=1.4, interpolation="none")
        axis.set_title(title)
        axis.set(
            xticks=[30, 66], xticklabels=["pupils", "teachers"], yticks=[30, 66], yticklabels=["pupils", "teachers"]
        )
        axis.tick_params(length=0)
    return figure


def draw_marginal() -> plt.Figure:
    """Draw a random effect against the log of its sd, and the integrated density of the latter."""
    fit = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff")).fit("importance", draws=2000, seed=1)
    posterior = fit.idata.posterior
    log_sd = np.log(posterior["sd_Batch"].to_numpy().ravel())
    effect = posterior["r_Batch"].to_numpy()[:, :, 5, 0].ravel()
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
    axes[0].plot(effect, log_sd, ".", ms=2, alpha=0.4, color=BLUE)
    axes[0].set(xlabel="effect of batch F", ylabel="log of the sd between batches", ylim=(-1, 6))
    axes[1].hist(log_sd, np.linspace(-1, 6, 70), density=True, color=BLUE, alpha=0.6)
    axes[1].set(xlabel="log of the sd between batches", ylabel="density")
    return figure


def draw_importance(model: blm.Model) -> plt.Figure:
    """Draw weighted points, and the sorted weights of a fitting and of a narrow proposal."""
    from scipy.stats import multivariate_t

    from bayeslmm.inference.importance.points import log_densities
    from bayeslmm.inference.importance.psis import smooth_weights
    from bayeslmm.inference.laplace import find_laplace
    from bayeslmm.posterior.density import CovarianceDensity

    density = CovarianceDensity(model.kernel, model.resolved_priors)
    laplace = find_laplace(density)
    mode, covariance = laplace.mode[:-1], laplace.covariance[:-1, :-1]
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained")
    for scale, colour, label in ((1.0, BLUE, "fitting"), (0.35, RED, "a third of the scale")):
        proposal = multivariate_t(mode, scale**2 * covariance, df=5, seed=1)
        phi = proposal.rvs(500)
        weights = smooth_weights(log_densities(density, phi) - proposal.logpdf(phi))
        if scale == 1.0:
            axes[0].scatter(phi[:, 0], phi[:, 1], 6000 * weights.weights, color=colour, alpha=0.35, lw=0)
        shown = f"{label}: k\u0302 {weights.k_hat:.2f}, effective size {weights.effective_size:.0f}"
        axes[1].plot(np.sort(weights.weights)[::-1], color=colour, label=shown)
    axes[0].set(xlabel="log of sd(Intercept)/\u03c3", ylabel="log of sd(Days)/\u03c3")
    axes[1].set(xlabel="points, in order of their weight", ylabel="weight", yscale="log", ylim=(1e-6, 10))
    axes[1].legend(frameon=False, loc="upper right", fontsize=9)
    return figure


def draw_priors(model: blm.Model) -> plt.Figure:
    """Draw the prior of a standard deviation with its posterior, and LKJ densities of one correlation."""
    from scipy.stats import beta, t

    prior = dict(model.resolved_priors.items())["sd_Subject[Days]"]
    reml = model.fit("reml").varcorr().set_index(["group", "effect"])["sd"]
    draws = model.fit("importance", seed=1).idata.posterior["sd_Subject"].sel(Subject_effect="Days").to_numpy().ravel()
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    grid = np.linspace(0, 40, 400)
    axes[0].fill_between(grid, 2 * t.pdf(grid / prior.sigma, 3) / prior.sigma, color="lightgrey", label=str(prior))
    axes[0].hist(draws, np.linspace(0, 40, 80), density=True, histtype="step", color=BLUE, label="posterior")
    axes[0].axvline(float(reml["Subject", "Days"]), color=RED, lw=1, label="REML")
    axes[0].set(xlabel="sd of the slopes (ms per day)", yticks=[])
    axes[0].legend(frameon=False)
    rho = np.linspace(-0.999, 0.999, 400)
    for eta, shade in ((1, 1.0), (2, 0.65), (4, 0.4)):
        axes[1].plot(rho, beta.pdf((rho + 1) / 2, eta, eta) / 2, color=BLUE, alpha=shade, label=f"LKJ({eta})")
    axes[1].set(xlabel="correlation of two effects", yticks=[], ylim=(0, None))
    axes[1].legend(frameon=False)
    return figure


def draw_gallery() -> None:
    """Run the code of gallery.md, and save each figure under the name of the picture shown below its code."""
    (IMAGES / "gallery").mkdir(exist_ok=True)
    names: dict[str, object] = {}
    text = (IMAGES.parent / "gallery.md").read_text(encoding="utf-8")
    for code, shown in re.findall(r"```python\n(.*?)```\n(?:\n!\[[^]]*\]\(([^)]*)\))?", text, re.DOTALL):
        exec(compile(code, "gallery.md", "exec"), names)
        if shown:
            names["figure"].savefig(IMAGES.parent / shown, dpi=80, bbox_inches="tight")  # type: ignore[attr-defined]


def draw_slopes(axes: plt.Axes, reml: blm.PointFit, bayes: blm.PosteriorFit) -> None:
    """Draw each subject's slope: posterior mean and 95% interval, with the REML prediction."""
    posterior = bayes.idata.posterior
    draws = (posterior["beta"].sel(fixed="Days") + posterior["r_Subject"].sel(Subject_effect="Days")).stack(
        sample=("chain", "draw")
    )
    twin = reml.fixef()["Days"] + reml.ranef()["Subject"]["Days"]
    order = np.argsort(twin.to_numpy())
    low, mean, high = (
        draws.quantile(0.025, "sample"),
        draws.mean("sample"),
        draws.quantile(0.975, "sample"),
    )
    place = np.arange(order.size)
    axes.hlines(place, low[order], high[order], color=BLUE, lw=2, label="posterior, 95%")
    axes.plot(mean[order], place, "o", color=BLUE, ms=5, label="posterior mean")
    axes.plot(twin.to_numpy()[order], place, "|", color=RED, ms=12, mew=2, label="REML")
    axes.set(yticks=place, yticklabels=twin.index[order], xlabel="ms per day of little sleep", ylabel="subject")
    axes.set_title("Slope of each subject", loc="left")
    axes.legend(frameon=False, loc="lower right")


def draw_standard_deviations(axes: plt.Axes, reml: blm.PointFit, bayes: blm.PosteriorFit) -> None:
    """Draw the posterior of the two standard deviations, with the REML estimates."""
    sd = bayes.idata.posterior["sd_Subject"].stack(sample=("chain", "draw"))
    axes.plot(
        sd.sel(Subject_effect="Intercept"),
        sd.sel(Subject_effect="Days"),
        ".",
        color=BLUE,
        ms=2,
        alpha=0.3,
        label="posterior draws",
    )
    table = reml.varcorr()
    own = table[(table["group"] == "Subject") & table["other_effect"].isna()].set_index("effect")["sd"]
    axes.plot(own["Intercept"], own["Days"], "P", color=RED, ms=11, mec="white", label="REML")
    axes.set(xlabel="sd of intercepts (ms)", ylabel="sd of slopes (ms per day)", xlim=(0, None), ylim=(0, None))
    axes.set_title("How much subjects differ", loc="left")
    axes.legend(frameon=False, loc="upper right")


if __name__ == "__main__":
    main()
