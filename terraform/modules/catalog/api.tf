# API Gateway, created from the routes of the Chalice app (dist/routes.json): none is listed here.
# Chalice finds its views by the resource's path, so every route must be a separate resource.

locals {
  methods = { for route in local.routes : "${route.method} ${route.path}" => route }

  # Every path and every path above one, as "products/{product_id}/sync", by depth.
  parts = distinct(flatten([
    for route in local.routes : [
      for depth in range(1, length(split("/", route.path))) :
      join("/", slice(split("/", trimprefix(route.path, "/")), 0, depth))
    ]
  ]))
  parts_by_depth = { for depth in [1, 2, 3, 4] :
    depth => toset([for part in local.parts : part if length(split("/", part)) == depth])
  }

  # A resource cannot be its own parent in for_each: so one block for each depth.
  resource_ids = merge(
    { for part, made in aws_api_gateway_resource.depth1 : "/${part}" => made.id },
    { for part, made in aws_api_gateway_resource.depth2 : "/${part}" => made.id },
    { for part, made in aws_api_gateway_resource.depth3 : "/${part}" => made.id },
    { for part, made in aws_api_gateway_resource.depth4 : "/${part}" => made.id },
  )

  # Errors that API Gateway answers without the app: problem+json like the app's own.
  gateway_answers = {
    UNAUTHORIZED                   = { status = "401", slug = "unauthorized", title = "Unauthorized", detail = "a valid bearer token is required", headers = { WWW-Authenticate = "Bearer" } }
    ACCESS_DENIED                  = { status = "403", slug = "forbidden", title = "Forbidden", detail = "the token lacks the scope", headers = {} }
    INVALID_API_KEY                = { status = "403", slug = "forbidden", title = "Forbidden", detail = "a valid API key is required", headers = {} }
    MISSING_AUTHENTICATION_TOKEN   = { status = "404", slug = "no-such-route", title = "No such route", detail = "no such route", headers = {} }
    REQUEST_TOO_LARGE              = { status = "413", slug = "too-large", title = "The request is too large", detail = "a request may have 10485760 bytes at most", headers = {} }
    THROTTLED                      = { status = "429", slug = "throttled", title = "Too Many Requests", detail = "too many requests", headers = { Retry-After = "1" } }
    AUTHORIZER_FAILURE             = { status = "500", slug = "internal", title = "Something went wrong here", detail = "Something went wrong here", headers = {} }
    AUTHORIZER_CONFIGURATION_ERROR = { status = "500", slug = "internal", title = "Something went wrong here", detail = "Something went wrong here", headers = {} }
    DEFAULT_5XX                    = { status = "500", slug = "internal", title = "Something went wrong here", detail = "Something went wrong here", headers = {} }
    INTEGRATION_FAILURE            = { status = "503", slug = "unavailable", title = "Try again later", detail = "Try again later", headers = { Retry-After = "5" } }
    INTEGRATION_TIMEOUT            = { status = "504", slug = "timeout", title = "Gateway Timeout", detail = "no answer in time", headers = { Retry-After = "5" } }
  }

  cors_headers = var.cors_origin == null ? {} : {
    "Access-Control-Allow-Origin"  = var.cors_origin
    "Access-Control-Allow-Headers" = "Authorization,Content-Type,Idempotency-Key,If-Match,If-None-Match,traceparent${var.api_keys_required ? ",X-Api-Key" : ""}"
    "Access-Control-Allow-Methods" = "DELETE,GET,OPTIONS,PATCH,POST,PUT"
    "Access-Control-Max-Age"       = "600"
  }
}

resource "aws_api_gateway_rest_api" "catalog" {
  name        = local.name
  description = "Product catalog"

  # With a domain of its own, nobody goes round its firewall and its certificate.
  disable_execute_api_endpoint = var.domain != null

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
    precondition {
      condition     = local.manifest.architecture == var.architecture
      error_message = "The artifacts are packaged for ${local.manifest.architecture}, the functions are ${var.architecture}: make package ARCH=${var.architecture}"
    }
    precondition {
      condition     = local.packaged_runtime == var.runtime
      error_message = "The artifacts are packaged for ${coalesce(local.packaged_runtime, "a runtime that manifest.json does not name")}, the functions run ${var.runtime}: run make package with that version of Python."
    }
    precondition {
      condition     = max([for part in local.parts : length(split("/", part))]...) <= 4
      error_message = "A route is deeper than four parts: add a depth in api.tf."
    }
  }
}

resource "aws_api_gateway_resource" "depth1" {
  for_each    = local.parts_by_depth[1]
  rest_api_id = aws_api_gateway_rest_api.catalog.id
  parent_id   = aws_api_gateway_rest_api.catalog.root_resource_id
  path_part   = each.value
}

resource "aws_api_gateway_resource" "depth2" {
  for_each    = local.parts_by_depth[2]
  rest_api_id = aws_api_gateway_rest_api.catalog.id
  parent_id   = aws_api_gateway_resource.depth1[dirname(each.value)].id
  path_part   = basename(each.value)
}

resource "aws_api_gateway_resource" "depth3" {
  for_each    = local.parts_by_depth[3]
  rest_api_id = aws_api_gateway_rest_api.catalog.id
  parent_id   = aws_api_gateway_resource.depth2[dirname(each.value)].id
  path_part   = basename(each.value)
}

resource "aws_api_gateway_resource" "depth4" {
  for_each    = local.parts_by_depth[4]
  rest_api_id = aws_api_gateway_rest_api.catalog.id
  parent_id   = aws_api_gateway_resource.depth3[dirname(each.value)].id
  path_part   = basename(each.value)
}

# ---- authorization ----

resource "aws_api_gateway_authorizer" "bearer" {
  name                             = "bearer"
  rest_api_id                      = aws_api_gateway_rest_api.catalog.id
  type                             = "TOKEN"
  authorizer_uri                   = module.authorizer.invoke_arn
  identity_source                  = "method.request.header.Authorization"
  authorizer_result_ttl_in_seconds = 300
}

resource "aws_lambda_permission" "authorizer" {
  function_name = module.authorizer.function_name
  qualifier     = module.authorizer.alias_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.catalog.execution_arn}/authorizers/${aws_api_gateway_authorizer.bearer.id}"
}

# ---- the routes ----

resource "aws_api_gateway_method" "route" {
  #checkov:skip=CKV2_AWS_53:The app validates each request, with an answer that names the field
  for_each         = local.methods
  rest_api_id      = aws_api_gateway_rest_api.catalog.id
  resource_id      = local.resource_ids[each.value.path]
  http_method      = each.value.method
  authorization    = each.value.authorized ? "CUSTOM" : "NONE"
  authorizer_id    = each.value.authorized ? aws_api_gateway_authorizer.bearer.id : null
  api_key_required = each.value.authorized && var.api_keys_required
}

resource "aws_api_gateway_integration" "route" {
  for_each                = local.methods
  rest_api_id             = aws_api_gateway_rest_api.catalog.id
  resource_id             = aws_api_gateway_method.route[each.key].resource_id
  http_method             = aws_api_gateway_method.route[each.key].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = module.api.invoke_arn
}

# ---- methods that are no operation ----

# The app answers HEAD as GET, and the others 405 with those that the path has. It checks the token of
# HEAD itself: the authorizer's policy names operations only, and would turn 405 into 403.
resource "aws_api_gateway_method" "other" {
  #checkov:skip=CKV2_AWS_53:The app validates each request, with an answer that names the field
  #checkov:skip=CKV_AWS_59:The app checks the token itself
  for_each         = toset(local.routes[*].path)
  rest_api_id      = aws_api_gateway_rest_api.catalog.id
  resource_id      = local.resource_ids[each.key]
  http_method      = "ANY"
  authorization    = "NONE"
  api_key_required = var.api_keys_required && anytrue([for route in local.routes : route.authorized if route.path == each.key])
}

resource "aws_api_gateway_integration" "other" {
  for_each                = aws_api_gateway_method.other
  rest_api_id             = each.value.rest_api_id
  resource_id             = each.value.resource_id
  http_method             = each.value.http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = module.api.invoke_arn
}

resource "aws_lambda_permission" "api" {
  function_name = module.api.function_name
  qualifier     = module.api.alias_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.catalog.execution_arn}/api/*"
}

# ---- preflight requests of browsers, if an origin is allowed ----

resource "aws_api_gateway_method" "preflight" {
  #checkov:skip=CKV2_AWS_53:A preflight request has nothing to validate
  for_each      = var.cors_origin == null ? {} : { for path in distinct(local.routes[*].path) : path => path }
  rest_api_id   = aws_api_gateway_rest_api.catalog.id
  resource_id   = local.resource_ids[each.key]
  http_method   = "OPTIONS"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "preflight" {
  for_each          = aws_api_gateway_method.preflight
  rest_api_id       = each.value.rest_api_id
  resource_id       = each.value.resource_id
  http_method       = each.value.http_method
  type              = "MOCK"
  request_templates = { "application/json" = jsonencode({ statusCode = 204 }) }
}

resource "aws_api_gateway_method_response" "preflight" {
  for_each            = aws_api_gateway_method.preflight
  rest_api_id         = each.value.rest_api_id
  resource_id         = each.value.resource_id
  http_method         = each.value.http_method
  status_code         = "204"
  response_parameters = { for name in keys(local.cors_headers) : "method.response.header.${name}" => true }
}

resource "aws_api_gateway_integration_response" "preflight" {
  for_each            = aws_api_gateway_method_response.preflight
  rest_api_id         = each.value.rest_api_id
  resource_id         = each.value.resource_id
  http_method         = each.value.http_method
  status_code         = each.value.status_code
  response_parameters = { for name, value in local.cors_headers : "method.response.header.${name}" => "'${value}'" }
  depends_on          = [aws_api_gateway_integration.preflight]
}

# ---- errors that API Gateway answers without the app ----

resource "aws_api_gateway_gateway_response" "problem" {
  for_each      = local.gateway_answers
  rest_api_id   = aws_api_gateway_rest_api.catalog.id
  response_type = each.key
  status_code   = each.value.status

  response_templates = {
    "application/json" = jsonencode({
      type   = "urn:product-catalog:problem:${each.value.slug}"
      title  = each.value.title
      status = tonumber(each.value.status)
      detail = each.value.detail
    })
  }

  response_parameters = merge(
    { "gatewayresponse.header.Content-Type" = "'application/problem+json'" },
    { for name, value in each.value.headers : "gatewayresponse.header.${name}" => "'${value}'" },
    var.cors_origin == null ? {} : { "gatewayresponse.header.Access-Control-Allow-Origin" = "'${var.cors_origin}'" },
  )
}

# ---- the stage ----

resource "aws_api_gateway_deployment" "catalog" {
  rest_api_id = aws_api_gateway_rest_api.catalog.id

  # A deployment is a copy of all of these, so it must be created again when one of them changes.
  triggers = {
    content = sha1(jsonencode([
      # Includes how this file creates answers, methods and integrations from the values below.
      filesha1("${path.module}/api.tf"),
      local.routes,
      local.gateway_answers,
      local.cors_headers,
      var.api_keys_required,
      module.api.invoke_arn,
      module.authorizer.invoke_arn,
      local.resource_ids,
      # A default address is closed, or open again, with the next change of the stage only.
      var.domain != null,
    ]))
  }

  depends_on = [
    aws_api_gateway_gateway_response.problem,
    aws_api_gateway_integration.route,
    aws_api_gateway_integration.other,
    aws_api_gateway_integration_response.preflight,
  ]

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "access" {
  name              = "/aws/apigateway/${local.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

# API Gateway would create it at the first error, without our key and without a retention time.
resource "aws_cloudwatch_log_group" "execution" {
  name              = "API-Gateway-Execution-Logs_${aws_api_gateway_rest_api.catalog.id}/api"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_api_gateway_stage" "api" {
  #checkov:skip=CKV_AWS_120:A cached answer would be older than the newest version
  #checkov:skip=CKV2_AWS_4:It logs errors; the check also asks for metrics of each method, which cost extra and which nothing here uses
  #checkov:skip=CKV2_AWS_51:Callers prove themselves by bearer tokens
  #checkov:skip=CKV2_AWS_77:A variable: web_acl_arn; nothing here runs Java
  stage_name           = "api"
  description          = "The catalog under /api"
  rest_api_id          = aws_api_gateway_rest_api.catalog.id
  deployment_id        = aws_api_gateway_deployment.catalog.id
  xray_tracing_enabled = true

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.access.arn
    format = jsonencode({
      requestId    = "$context.requestId"
      trace        = "$context.xrayTraceId"
      time         = "$context.requestTime"
      ip           = "$context.identity.sourceIp"
      caller       = "$context.authorizer.principalId"
      method       = "$context.httpMethod"
      path         = "$context.path"
      route        = "$context.resourcePath"
      status       = "$context.status"
      bytes        = "$context.responseLength"
      milliseconds = "$context.responseLatency"
      error        = "$context.error.message"
    })
  }

  depends_on = [aws_api_gateway_account.logging, aws_cloudwatch_log_group.execution]
}

resource "aws_api_gateway_method_settings" "all" {
  #checkov:skip=CKV_AWS_225:A cached answer would be older than the newest version
  rest_api_id = aws_api_gateway_rest_api.catalog.id
  stage_name  = aws_api_gateway_stage.api.stage_name
  method_path = "*/*"

  settings {
    # Metrics of each method cost extra; those of API and stage, which alarm and dashboard use, do not.
    metrics_enabled        = false
    logging_level          = "ERROR"
    data_trace_enabled     = false
    throttling_rate_limit  = var.throttle.rate
    throttling_burst_limit = var.throttle.burst
  }
}

# Anybody may ask whether the catalog is ready, and each container that does not know asks MongoDB, NATS and
# SQS: the throttle of all methods would let a stranger start as many containers as the API may have.
resource "aws_api_gateway_method_settings" "ready" {
  #checkov:skip=CKV_AWS_225:Each container keeps its answer for some seconds itself
  # The app answers HEAD as GET. That is a method under ANY, whose settings go by its own name.
  for_each    = toset(["GET", "HEAD"])
  rest_api_id = aws_api_gateway_rest_api.catalog.id
  stage_name  = aws_api_gateway_stage.api.stage_name
  method_path = "ready/${each.key}"

  settings {
    # Nothing is taken over from the settings of all methods.
    metrics_enabled        = false
    logging_level          = "ERROR"
    data_trace_enabled     = false
    throttling_rate_limit  = var.ready_throttle.rate
    throttling_burst_limit = var.ready_throttle.burst
  }

  # Both change the stage.
  depends_on = [aws_api_gateway_method_settings.all]
}

# Counts and throttles each API key separately, in addition to the throttle of all callers. API Gateway
# checks keys only where a method requires one: api_keys_required.
resource "aws_api_gateway_usage_plan" "callers" {
  name        = local.name
  description = "Throttle of each caller that has an API key"

  api_stages {
    api_id = aws_api_gateway_rest_api.catalog.id
    stage  = aws_api_gateway_stage.api.stage_name
  }

  throttle_settings {
    rate_limit  = var.throttle.rate
    burst_limit = var.throttle.burst
  }
}

# ---- logging of API Gateway: one role for a whole account and region ----

data "aws_iam_policy_document" "gateway_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "gateway_logging" {
  count = var.manage_account_logging ? 1 : 0
  # A role's name may have 64 characters.
  name                 = "${local.name}-gateway-${local.region}"
  path                 = var.iam_path
  permissions_boundary = var.permissions_boundary
  description          = "Lets API Gateway write logs"
  assume_role_policy   = data.aws_iam_policy_document.gateway_assume.json

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_iam_role_policy_attachment" "gateway_logging" {
  count = var.manage_account_logging ? 1 : 0
  role  = aws_iam_role.gateway_logging[0].name
  # AWS's own policy: API Gateway tests the role for exactly these actions on *.
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

resource "aws_api_gateway_account" "logging" {
  count               = var.manage_account_logging ? 1 : 0
  cloudwatch_role_arn = aws_iam_role.gateway_logging[0].arn
  depends_on          = [aws_iam_role_policy_attachment.gateway_logging]
}

# ---- custom domain, firewall ----

resource "aws_api_gateway_domain_name" "own" {
  count                    = var.domain == null ? 0 : 1
  domain_name              = var.domain.name
  regional_certificate_arn = var.domain.certificate_arn
  security_policy          = "TLS_1_2"

  endpoint_configuration {
    types = ["REGIONAL"]
  }
}

resource "aws_api_gateway_base_path_mapping" "own" {
  count       = var.domain == null ? 0 : 1
  api_id      = aws_api_gateway_rest_api.catalog.id
  stage_name  = aws_api_gateway_stage.api.stage_name
  domain_name = aws_api_gateway_domain_name.own[0].domain_name
  base_path   = "api"
}

resource "aws_wafv2_web_acl_association" "api" {
  count        = var.web_acl_arn == null ? 0 : 1
  resource_arn = aws_api_gateway_stage.api.arn
  web_acl_arn  = var.web_acl_arn
}
