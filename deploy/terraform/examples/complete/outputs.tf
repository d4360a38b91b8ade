output "endpoints" {
  description = "For [upstream] endpoints."
  value       = module.portcullis.endpoints
}

output "ship_url" {
  description = "For [audit.ship] url."
  value       = module.portcullis.ship_url
}
