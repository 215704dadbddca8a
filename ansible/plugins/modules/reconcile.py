#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Runs snoopy reconcile once and returns its report as an Ansible result."""

DOCUMENTATION = r"""
---
module: reconcile
short_description: Run snoopy once on an EVPN node
version_added: 1.0.0
author: The snoopy authors (@snoopy)
description:
  - Runs C(snoopy reconcile), which attaches its eBPF program to the local ports of the configured bridges, turns
    the ARP and Neighbor Discovery messages of VMs and containers into bridge neighbors, and exits.
  - Idempotent. A second run changes nothing.
  - snoopy itself must be on the node; the role C(snoopy.evpn.snoopy) installs it.
options:
  config:
    description:
      - The configuration itself, with the keys of C(/etc/snoopy/snoopy.yaml).
      - snoopy reads it from its standard input; it is never in a file on the node.
      - Quote MAC addresses. Ansible's YAML reads C(52:54:00:12:34:56) as a number.
    type: dict
  config_path:
    description: Path of the configuration on the node.
    type: path
    default: /etc/snoopy/snoopy.yaml
  bridges:
    description: Only these bridges, by name, also those that a glob of the configuration serves. An empty list means all.
    type: list
    elements: str
    default: []
  listen:
    description:
      - How long the run listens, and acts on new messages, before it ends. A duration such as C(30s).
      - Ignored in check mode.
    type: str
    default: 0s
  lock_timeout:
    description: How long to wait for another run on this node to end. A duration such as C(10s).
    type: str
    default: 10s
  executable:
    description: Name or path of snoopy.
    type: str
    default: snoopy
attributes:
  check_mode:
    description: Runs in check mode and reports what would change, without changing or consuming anything.
    support: full
  diff_mode:
    description: In diff mode, returns what changed, or would change, on data path and neighbors.
    support: full
  facts:
    description: Returns C(ansible_facts).
    support: full
  platform:
    description: The systems on which it runs.
    support: full
    platforms: linux
notes:
  - Needs root, so use C(become).
  - I(changed) covers only the data path, that is program, ports and policies. Neighbors change with the hosts; they
    have I(neighbors_changed).
  - If only neighbors changed, they are in the result's I(diff), but Ansible shows I(diff) only for a task that changed
    something.
"""

EXAMPLES = r"""
- name: Run snoopy with the configuration on the node
  snoopy.evpn.reconcile: {}
  become: true

- name: Run it for one bridge, and listen for half a minute
  snoopy.evpn.reconcile:
    bridges: [vmbr0]
    listen: 30s
  become: true

- name: Run it with a configuration that is in no file
  snoopy.evpn.reconcile:
    config:
      version: 1
      bridges:
        - name: vmbr0
          static:
            - {ip: 10.1.1.53, mac: "52:54:00:12:34:56"}
  become: true

- name: Show the local hosts
  ansible.builtin.debug:
    msg: "{{ snoopy_neighbors | map(attribute='ip') | sort }}"
"""

RETURN = r"""
report:
  description: The report of C(snoopy reconcile --format json), as C(schema/report.schema.json) describes it.
  returned: when snoopy printed one
  type: dict
  sample:
    version: 1
    ok: true
    changed: true
    check: false
    steps:
      - action: {kind: attach, bridge: vmbr0, port: tap100i0}
        outcome: {kind: applied}
    neighbors: {changed: false, total: 0, changes: []}
    remaining: []
    warnings: []
    errors: []
neighbors_changed:
  description: Whether any neighbor was written or removed or, in check mode, would be.
  returned: when snoopy ran to its end
  type: bool
  sample: false
ansible_facts:
  description: Facts about the node.
  returned: when snoopy ran to its end
  type: dict
  contains:
    snoopy_neighbors:
      description:
        - Every neighbor that snoopy has installed on the node, of all bridges of the configuration.
        - In check mode the current neighbors, not the planned ones.
      returned: when snoopy ran to its end
      type: list
      elements: dict
      contains:
        bridge:
          description: The bridge.
          type: str
          sample: vmbr0
        device:
          description: The neighbor device, which is the bridge or a VLAN device above it.
          type: str
          sample: vmbr0
        vlan:
          description: VLAN ID, or 0 if there is none.
          type: int
          sample: 0
        ip:
          description: IPv4 or IPv6 address.
          type: str
          sample: 10.1.1.1
        mac:
          description: MAC address, in lower case.
          type: str
          sample: "02:00:00:00:01:01"
        port:
          description: The port of the host.
          type: str
          sample: tap101i0
        source:
          description: C(learned) or C(static).
          type: str
          sample: learned
"""

import json

from ansible.module_utils.basic import AnsibleModule

NEIGHBOR_KEYS = ("bridge", "device", "vlan", "ip", "mac", "port", "source")
# For the diff: what each kind of step adds, and what it removes.
BROUGHT = {
    "mount": "mounted",
    "load": "loaded",
    "set-prefix": "prefix",
    "set-static": "static",
    "set-port": "policy",
    "attach": "attached",
}
TAKEN = {
    "detach": "attached",
    "unpin": "pinned",
    "drop-port": "policy",
    "drop-prefix": "prefix",
    "drop-static": "static",
    "drop-textfile": "textfile",
}


def main():
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "dict"},
            "config_path": {"type": "path", "default": "/etc/snoopy/snoopy.yaml"},
            "bridges": {"type": "list", "elements": "str", "default": []},
            "listen": {"type": "str", "default": "0s"},
            "lock_timeout": {"type": "str", "default": "10s"},
            "executable": {"type": "str", "default": "snoopy"},
        },
        mutually_exclusive=[("config", "config_path")],
        supports_check_mode=True,
    )
    result = reconcile(module)
    report = result["report"]
    for warning in report["warnings"]:
        module.warn(warning)
    result["ansible_facts"] = {"snoopy_neighbors": read_neighbors(module)}
    if not report["ok"]:
        module.fail_json(msg=describe_problems(report, module.params), **result)
    module.exit_json(**result)


def reconcile(module):
    """Runs snoopy once and returns the parts of its report that Ansible uses."""
    params = module.params
    args = ["--lock-timeout", params["lock_timeout"], "--listen", params["listen"]]
    for bridge in params["bridges"]:
        args += ["--bridge", bridge]
    if module.check_mode:
        args.append("--check")
    report = run_snoopy(module, "reconcile", args)
    neighbors = report["neighbors"]
    return {
        "changed": report["changed"],
        "neighbors_changed": neighbors["changed"],
        "report": report,
        "diff": diff_of(report["steps"], neighbors["changes"]),
    }


def read_neighbors(module):
    """The installed neighbors, from snoopy status, which changes and consumes nothing."""
    status = run_snoopy(module, "status", [])
    installed = [binding for binding in status["bindings"] if binding["state"] == "installed"]
    return [{key: binding[key] for key in NEIGHBOR_KEYS} for binding in installed]


def run_snoopy(module, command, args):
    """The report of a command. Fails the module if there is none."""
    params = module.params
    # npm may install it where the PATH of sudo does not look.
    snoopy = module.get_bin_path(params["executable"], opt_dirs=["/usr/local/bin"])
    if snoopy is None:
        module.fail_json(
            msg="Cannot find %s on this node; install it with the role snoopy.evpn.snoopy, or give its path as "
            "executable" % params["executable"]
        )
    stdin, config = None, params["config_path"]
    if params["config"] is not None:
        # JSON is YAML in which only a number reads as a number.
        stdin, config = json.dumps(params["config"]), "/dev/stdin"
    argv = [snoopy, command, "--config", config, "--format", "json"] + args
    code, stdout, stderr = module.run_command(argv, data=stdin)
    report = parse_report(stdout)
    if report is None:
        said = stderr.strip() or stdout.strip() or "it said nothing"
        module.fail_json(msg="snoopy %s ended with %d: %s" % (command, code, said), rc=code, cmd=argv)
    if "bridges" not in report:
        module.fail_json(msg=describe_problems(report, params), rc=code, report=report)
    return report


def parse_report(text):
    try:
        report = json.loads(text)
    except ValueError:
        return None
    return report if isinstance(report, dict) and "errors" in report else None


def describe_problems(report, params):
    """Every failure with its fix; without any, the steps that are still due."""
    messages = [describe_problem(error, params) for error in report["errors"]]
    # The document of a command that could not run has errors only.
    done = report.get("steps", []) + report.get("neighbors", {}).get("changes", [])
    messages += [entry["outcome"]["message"] for entry in done if entry["outcome"]["kind"] == "failed"]
    if not messages:
        remaining = report.get("remaining", [])
        messages = ["still due: " + describe_action(action["kind"], action) for action in remaining]
    return "; ".join(messages) or "snoopy failed and did not say why; see its report"


def describe_problem(error, params):
    """The message. Its file, line and column help only if the configuration is in a file."""
    message = error["message"]
    if params["config"] is None or "line" not in error:
        return message
    place = "%s:%d:%d: " % (error["file"], error["line"], error["column"])
    return message.replace(place, "config: ", 1)


def diff_of(steps, changes):
    """The state before and after, one object a line."""
    before, after = [], []
    for step in steps:
        if is_done(step["outcome"]):
            action = step["action"]
            kind = action["kind"]
            if kind in TAKEN:
                before.append(describe_action(TAKEN[kind], action))
            else:
                after.append(describe_action(BROUGHT.get(kind, kind), action))
    for change in changes:
        if is_done(change["outcome"]):
            before += describe_entry(change, change["before"])
            after += describe_entry(change, change["after"])
    return {
        "before": text_of(before),
        "after": text_of(after),
        "before_header": "data path and neighbors",
        "after_header": "data path and neighbors",
    }


def is_done(outcome):
    return outcome["kind"] in ("applied", "planned")


def describe_action(what, action):
    """Such as "attached vmbr0 tap100i0"."""
    keys = ("bridge", "port", "path", "prefix", "ip", "mac")
    return " ".join([what] + [action[key] for key in keys if key in action])


def describe_entry(change, entry):
    """A neighbor as iproute2 spells it."""
    if entry is None:
        return []
    mac = [] if entry["mac"] is None else ["lladdr", entry["mac"]]
    words = [change["ip"], "dev", change["device"]] + mac + entry["flags"]
    return [" ".join(words + ["nud", entry["state"], "proto", str(entry["protocol"])])]


def text_of(lines):
    return "".join(line + "\n" for line in lines)


if __name__ == "__main__":
    main()
