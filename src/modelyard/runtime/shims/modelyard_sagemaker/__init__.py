"""What the stand-ins for SageMaker's packages have in common. Facts: those of sagemaker-training 5.1.4 and sagemaker_containers 2.8.6."""
