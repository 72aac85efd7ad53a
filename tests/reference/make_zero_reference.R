# Writes zero_reference.json: what glmmTMB reports where the share of zeros has a formula.
# Needs R with glmmTMB, jsonlite (Debian: r-cran-*). Run from this folder.
suppressMessages({library(glmmTMB); library(jsonlite)})
d <- read.csv(file.path("..", "..", "bayeslmm", "datasets", "data", "grouseticks.csv.gz"))
for (f in c("BROOD", "YEAR")) d[[f]] <- factor(d[[f]])
d$thinned <- ifelse(as.integer(as.character(d$INDEX)) %% 4 == 0, 0, d$TICKS)  # every fourth chick without ticks: extra zeros
fit <- function(family, zi, formula = TICKS ~ YEAR + cHEIGHT + (1 | BROOD)) {
  f <- glmmTMB(formula, d, family = family, ziformula = zi,
               control = glmmTMBControl(optimizer = optim, optArgs = list(method = "BFGS"), optCtrl = list(reltol = 1e-13, maxit = 1000)))
  list(formula = paste(deparse(formula, 500), collapse = ""), family = f$modelInfo$family$family, zi_formula = paste(deparse(zi), collapse = ""), loglik = as.numeric(logLik(f)),
       fixef = as.list(fixef(f)$cond), se = as.list(sqrt(diag(vcov(f)$cond))), zi = as.list(fixef(f)$zi), zi_se = as.list(sqrt(diag(vcov(f)$zi))),
       sd = attr(VarCorr(f)$cond$BROOD, "stddev")[[1]], dispersion = sigma(f))
}
out <- list(glmmTMB = as.character(packageVersion("glmmTMB")),
            zero_inflated_poisson = fit(poisson, ~ cHEIGHT), zero_inflated_negative_binomial = fit(nbinom2, ~ cHEIGHT, thinned ~ YEAR + cHEIGHT + (1 | BROOD)),
            hurdle_poisson = fit(truncated_poisson, ~ YEAR + cHEIGHT), hurdle_negative_binomial = fit(truncated_nbinom2, ~ cHEIGHT))
write(toJSON(out, digits = 10, auto_unbox = TRUE, pretty = 1), "zero_reference.json")
