# Posterior means and standard deviations of rstanarm's stan_lmer under its default priors, decov among them.
# Rscript make_rstanarm_reference.R, with rstanarm and jsonlite; a few minutes.
suppressPackageStartupMessages({library(rstanarm); library(jsonlite)})
data(sleepstudy, package = "lme4")
data(Dyestuff, package = "lme4")
summarise <- function(fit) {
  draws <- as.matrix(fit)
  keep <- !grepl("^b\\[", colnames(draws)) & !colnames(draws) %in% c("mean_PPD", "log-posterior")
  draws <- draws[, keep, drop = FALSE]
  sds <- grepl("^Sigma", colnames(draws))
  found <- list()
  for (name in colnames(draws)) {
    found[[name]] <- list(mean = mean(draws[, name]), sd = sd(draws[, name]))
  }
  # standard deviations and correlations, draw by draw
  s <- draws[, sds, drop = FALSE]
  if (ncol(s) == 3) {
    a <- sqrt(s[, 1]); b <- sqrt(s[, 3]); r <- s[, 2] / (a * b)
    found[["sd1"]] <- list(mean = mean(a), sd = sd(a)); found[["sd2"]] <- list(mean = mean(b), sd = sd(b))
    found[["cor"]] <- list(mean = mean(r), sd = sd(r))
  } else {
    a <- sqrt(s[, 1]); found[["sd1"]] <- list(mean = mean(a), sd = sd(a))
  }
  list(posterior = found, n_eff = min(summary(fit)[, "n_eff"]), draws = nrow(draws))
}
options(mc.cores = 1)
common <- list(chains = 4, iter = 6000, warmup = 1000, seed = 1, refresh = 0, adapt_delta = 0.99)
one <- do.call(stan_lmer, c(list(Reaction ~ Days + (Days | Subject), data = sleepstudy), common))
two <- do.call(stan_lmer, c(list(Yield ~ 1 + (1 | Batch), data = Dyestuff), common))
out <- list(version = as.character(packageVersion("rstanarm")), sleepstudy = summarise(one), dyestuff = summarise(two))
write_json(out, "rstanarm_reference.json", auto_unbox = TRUE, digits = 8, pretty = TRUE)
