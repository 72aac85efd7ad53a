# Fits one model each time a line arrives on standard input, and answers with a line of JSON.
# Arguments: csv file, formula, "ml" or "reml", columns that are factors (comma-separated), "check" or "nocheck", and the
# processor seconds after which a fit is given up ("Inf" for none): its objective is null then.
suppressMessages(library(lme4))
arguments <- commandArgs(trailingOnly = TRUE)
data <- read.csv(arguments[1], stringsAsFactors = FALSE)
for (f in strsplit(arguments[4], ",")[[1]]) data[[f]] <- factor(data[[f]])
formula <- as.formula(arguments[2])
reml <- arguments[3] == "reml"
control <- lmerControl(calc.derivs = arguments[5] == "check", check.conv.singular = "ignore")
cat(sprintf('{"version": "lme4 %s, R %s, BLAS %s"}\n', packageVersion("lme4"), getRversion(), basename(extSoftVersion()["BLAS"])))
flush(stdout())
input <- file("stdin")
open(input)
while (length(line <- readLines(input, n = 1)) > 0) {
  started <- proc.time()
  setTimeLimit(cpu = as.numeric(arguments[6]))
  fit <- tryCatch(
    suppressWarnings(suppressMessages(lmer(formula, data, REML = reml, control = control))),
    error = function(e) if (grepl("time limit", conditionMessage(e))) NULL else stop(e)
  )
  setTimeLimit()
  passed <- proc.time() - started
  objective <- if (is.null(fit)) "null" else sprintf("%.9f", if (reml) REMLcrit(fit) else -2 * as.numeric(logLik(fit)))
  cat(sprintf('{"seconds": %.6f, "processor": %.6f, "objective": %s}\n', passed[[3]], passed[[1]] + passed[[2]], objective))
  flush(stdout())
}
