# The queues, and who may do what with them: nobody more than his process needs.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "name" {
  description = "Name of the queue; a FIFO queue's ends with .fifo."
  type        = string
  default     = "prover-jobs"
}

variable "dead_letter_readers" {
  description = "Further principals (ARNs) that list, redrive and drop dead letters."
  type        = list(string)
  default     = []
}

locals {
  fifo = endswith(var.name, ".fifo")
  dead = local.fifo ? "${trimsuffix(var.name, ".fifo")}-dead.fifo" : "${var.name}-dead"
}

resource "aws_sqs_queue" "dead" {
  name                      = local.dead
  fifo_queue                = local.fifo ? true : null
  message_retention_seconds = 1209600 # 14 days, the most there is
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue" "jobs" {
  name                      = var.name
  fifo_queue                = local.fifo ? true : null
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  # Each message that is given back counts as received once more, so a low number would bury sound
  # jobs; how often a job is tried is counted in the database.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 1000
  })
}

# The API sends, and tells how full the queues are.
data "aws_iam_policy_document" "api" {
  statement {
    sid       = "Send"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.jobs.arn]
  }
  statement {
    sid       = "Count"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.jobs.arn, aws_sqs_queue.dead.arn]
  }
}

# Workers receive, send what is overdue again, and bury what nobody understands.
data "aws_iam_policy_document" "worker" {
  statement {
    sid = "Work"
    actions = [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
      "sqs:SendMessage",
    ]
    resources = [aws_sqs_queue.jobs.arn]
  }
  statement {
    sid       = "Bury"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead.arn]
  }
  statement {
    sid       = "Count"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.jobs.arn, aws_sqs_queue.dead.arn]
  }
}

# Operators look at dead letters, send them back and remove them.
data "aws_iam_policy_document" "operator" {
  statement {
    sid = "DeadLetters"
    actions = [
      "sqs:ReceiveMessage",
      "sqs:DeleteMessage",
      "sqs:ChangeMessageVisibility",
    ]
    resources = [aws_sqs_queue.dead.arn]
  }
  statement {
    sid       = "SendBack"
    actions   = ["sqs:SendMessage", "sqs:PurgeQueue"]
    resources = [aws_sqs_queue.jobs.arn]
  }
  statement {
    sid       = "Count"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.jobs.arn, aws_sqs_queue.dead.arn]
  }
}

resource "aws_iam_policy" "process" {
  for_each = {
    api      = data.aws_iam_policy_document.api.json
    worker   = data.aws_iam_policy_document.worker.json
    operator = data.aws_iam_policy_document.operator.json
  }
  name   = "prover-${each.key}"
  policy = each.value
}

# Nobody speaks to the queues without TLS, and nobody else writes to them: whoever may send can have
# jobs computed where PROVER_OTHER_SENDERS says so.
data "aws_iam_policy_document" "queue" {
  for_each = { jobs = aws_sqs_queue.jobs.arn, dead = aws_sqs_queue.dead.arn }
  statement {
    sid       = "Tls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
  dynamic "statement" {
    for_each = each.key == "dead" && length(var.dead_letter_readers) > 0 ? [1] : []
    content {
      sid = "Readers"
      actions = [
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
      ]
      resources = [each.value]
      principals {
        type        = "AWS"
        identifiers = var.dead_letter_readers
      }
    }
  }
}

resource "aws_sqs_queue_policy" "jobs" {
  queue_url = aws_sqs_queue.jobs.url
  policy    = data.aws_iam_policy_document.queue["jobs"].json
}

resource "aws_sqs_queue_policy" "dead" {
  queue_url = aws_sqs_queue.dead.url
  policy    = data.aws_iam_policy_document.queue["dead"].json
}

output "queue_url" {
  description = "SQS_QUEUE_URL."
  value       = aws_sqs_queue.jobs.url
}

output "policies" {
  description = "ARNs of the policies for the roles of API, worker and operators."
  value       = { for name, policy in aws_iam_policy.process : name => policy.arn }
}
