output "names" {
  description = "Names of the queues of single and of bulk messages."
  value       = local.names
}

output "arns" {
  description = "Their ARNs."
  value       = local.arns
}

output "urls" {
  description = "Their URLs."
  value       = { for key, queue in aws_sqs_queue.sync : key => queue.url }
}

output "dead_letters" {
  description = "ARN and URL of the dead-letter queue."
  value       = { arn = aws_sqs_queue.dead_letters.arn, url = aws_sqs_queue.dead_letters.url }
}
