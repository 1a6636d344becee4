# Train a logistic regression in R. The channel and the folder of the model are SageMaker's; predict_fn is what the endpoint asks.

fields <- c("mean_radius", "mean_texture", "mean_smoothness", "mean_concavity")

predict_fn <- function(input, model) {
  predict(model, input, type = "response")
}

main <- function() {
  rows <- read.csv(file.path(Sys.getenv("SM_CHANNEL_TRAIN"), "train.csv"))
  model <- glm(reformulate(fields, "malignant"), family = binomial(), data = rows)
  cat(sprintf("trained on %d samples; deviance %.1f\n", nrow(rows), deviance(model)))
  saveRDS(model, file.path(Sys.getenv("SM_MODEL_DIR"), "model.rds"))
}

if (sys.nframe() == 0) main()
