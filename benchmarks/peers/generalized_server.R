# Fits one generalized mixed model each time a line arrives on standard input, and answers with a line of JSON.
# Arguments: csv file, formula, "ml", columns that are factors (comma-separated), "glmer", "glmmTMB" or "clmm", family.
arguments <- commandArgs(trailingOnly = TRUE)
package <- c(glmer = "lme4", glmmTMB = "glmmTMB", clmm = "ordinal")[[arguments[5]]]
suppressMessages(library(package, character.only = TRUE))
data <- read.csv(arguments[1], stringsAsFactors = FALSE)
for (f in strsplit(arguments[4], ",")[[1]]) data[[f]] <- factor(data[[f]])
formula <- as.formula(arguments[2])
fit_once <- switch(arguments[5],
  glmer = function() glmer(formula, data, family = arguments[6]),
  glmmTMB = function() glmmTMB(formula, data, family = arguments[6]),
  clmm = function() clmm(formula, data))
cat(sprintf('{"version": "%s %s, R %s"}\n', arguments[5], packageVersion(package), getRversion()))
flush(stdout())
input <- file("stdin")
open(input)
while (length(line <- readLines(input, n = 1)) > 0) {
  started <- proc.time()
  fit <- suppressWarnings(suppressMessages(fit_once()))
  passed <- proc.time() - started
  cat(sprintf('{"seconds": %.6f, "processor": %.6f, "objective": %.9f}\n', passed[[3]], passed[[1]] + passed[[2]],
              -2 * as.numeric(logLik(fit))))
  flush(stdout())
}
