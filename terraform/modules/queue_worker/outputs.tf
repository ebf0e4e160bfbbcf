output "function" {
  description = "The function; see the outputs of the module function."
  value       = module.function
}
