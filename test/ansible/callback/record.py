# Writes the result of every task on every host as lines of JSON, for a test to read.
import json
import os

from ansible.parsing.ajson import AnsibleJSONEncoder
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: record
type: aggregate
short_description: results as lines of JSON
description: Appends a line for each result to the file that RECORD_FILE names.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"

    def record(self, outcome, result):
        line = {
            "host": result._host.get_name(),
            "task": result.task_name,
            "outcome": outcome,
            "result": result._result,
        }
        with open(os.environ["RECORD_FILE"], "a") as file:
            file.write(json.dumps(line, cls=AnsibleJSONEncoder) + "\n")

    def v2_runner_on_ok(self, result):
        self.record("ok", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.record("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result):
        self.record("skipped", result)

    def v2_runner_on_unreachable(self, result):
        self.record("unreachable", result)
