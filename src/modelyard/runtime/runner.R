# The R half of a runner: holds a model, reads a request a line (JSON) from one descriptor and writes its answer to another.
#
#   Rscript --vanilla runner.R MODEL_DIR SCRIPT FRAMEWORK_CLASSIFIES IN OUT
#
# SCRIPT (may be empty) may define model_fn(model_dir) and predict_fn(input, model), `input` a data.frame. One that defines
# neither is not run; one that trains at its top level keeps that behind `if (sys.nframe() == 0)`.

arguments <- commandArgs(trailingOnly = TRUE)
model_dir <- arguments[1]
script <- arguments[2]
classifies <- arguments[3] == "yes"
requests <- file(paste0("/dev/fd/", arguments[4]), "r", encoding = "UTF-8")
answers <- file(paste0("/dev/fd/", arguments[5]), "w", encoding = "UTF-8")

say <- function(value) {
  writeLines(as.character(jsonlite::toJSON(value, auto_unbox = TRUE, na = "null", null = "null")), answers)
  flush(answers)
}

give_up <- function(what) {
  say(list(error = what))
  quit(save = "no", status = 3)
}

if (!requireNamespace("jsonlite", quietly = TRUE)) {
  writeLines('{"error": "the R package jsonlite is not installed (on Debian and Ubuntu: r-cran-jsonlite)"}', answers)
  flush(answers)
  quit(save = "no", status = 3)
}

# Names that a script gives to functions, read without running it.
defined <- function(path) {
  named <- character()
  for (part in as.list(parse(path, keep.source = FALSE))) {
    if (is.call(part) && as.character(part[[1]])[1] %in% c("<-", "=", "<<-") && is.name(part[[2]])) named <- c(named, as.character(part[[2]]))
  }
  named
}

load_default <- function(model_dir) {
  files <- list.files(model_dir, pattern = "\\.(rds|RDS|Rds)$", full.names = TRUE)
  first <- file.path(model_dir, "model.rds")
  if (file.exists(first)) files <- first
  if (length(files) != 1) stop(sprintf("the model folder holds %d .rds files; leave one, or define model_fn", length(files)))
  readRDS(files)
}

predict_default <- function(input, model) {
  if (!classifies) return(predict(model, input))
  if (inherits(model, "glm")) return(predict(model, input, type = "response"))
  if (inherits(model, "multinom")) return(predict(model, input, type = "probs"))
  tryCatch(predict(model, input, type = "prob"), error = function(e) predict(model, input))
}

column <- function(values, kind) {
  values[vapply(values, is.null, logical(1))] <- NA
  values <- unlist(values)
  switch(kind,
    int = if (all(is.na(values) | abs(as.numeric(values)) <= .Machine$integer.max)) as.integer(values) else as.numeric(values),
    float = as.numeric(values),
    bool = as.logical(values),
    datetime = as.POSIXct(as.numeric(values) / 1e6, origin = "1970-01-01", tz = "UTC"),
    as.character(values)
  )
}

table_of <- function(request) {
  named <- vapply(request$columns, function(c) c$name, character(1))
  made <- lapply(request$columns, function(c) column(c$values, c$kind))
  names(made) <- named
  structure(made, class = "data.frame", row.names = seq_len(request$rows))
}

# A result as columns: names (null where it has none); numbers as text, since jsonlite writes 15 digits and a double needs 17.
answer_of <- function(result) {
  if (is.matrix(result)) result <- as.data.frame(result, optional = is.null(colnames(result)))
  if (!is.data.frame(result)) {
    if (is.list(result)) result <- as.data.frame(result, check.names = FALSE)
    else result <- structure(list(as.vector(if (is.factor(result)) as.character(result) else result)), class = "data.frame",
                             row.names = seq_along(result))
  }
  columns <- lapply(unname(as.list(result)), function(v) {
    if (is.factor(v)) v <- as.character(v)
    if (is.double(v)) list(values = I(sprintf("%.17g", v)), double = TRUE) else list(values = I(as.vector(v)), double = FALSE)
  })
  list(names = if (is.null(names(result))) NULL else I(names(result)), columns = columns)
}

own <- new.env(parent = globalenv())
model <- tryCatch({
  if (nzchar(script) && any(c("model_fn", "predict_fn") %in% defined(script))) sys.source(script, envir = own, chdir = TRUE)
  own_loader <- exists("model_fn", envir = own, inherits = FALSE)
  own_predictor <- exists("predict_fn", envir = own, inherits = FALSE)
  (if (own_loader) get("model_fn", envir = own) else load_default)(model_dir)
}, error = function(e) give_up(conditionMessage(e)))
predictor <- if (own_predictor) get("predict_fn", envir = own) else predict_default
say(list(ready = TRUE, r = paste(R.version$major, R.version$minor, sep = "."), model_fn = own_loader, predict_fn = own_predictor))

repeat {
  line <- readLines(requests, n = 1)
  if (length(line) == 0) break
  say(tryCatch(answer_of(predictor(table_of(jsonlite::fromJSON(line, simplifyVector = FALSE)), model)),
               error = function(e) list(error = conditionMessage(e))))
}
