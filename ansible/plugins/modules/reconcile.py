#!/usr/bin/python
# SPDX-License-Identifier: MIT
"""Runs snoopy reconcile once and reports what it did as Ansible expects it."""

DOCUMENTATION = r"""
---
module: reconcile
short_description: Run snoopy once on an EVPN node
version_added: 1.0.0
author: The snoopy authors (@snoopy)
description:
  - Runs C(snoopy reconcile), which attaches its eBPF program to the local ports of the configured bridges, turns
    what VMs and containers said by ARP and Neighbor Discovery into bridge neighbors, and exits.
  - Leaves alone what is right already, so a second run changes nothing.
  - snoopy itself has to be on the node; the role C(snoopy.evpn.snoopy) installs it.
options:
  config:
    description:
      - The configuration itself, as C(/etc/snoopy/snoopy.yaml) would have it.
      - snoopy reads it from its standard input, so it is in no file of the node at any time.
      - Quote MAC addresses. YAML as Ansible reads it takes C(52:54:00:12:34:56) for a number.
    type: dict
  config_path:
    description: The configuration as a file on the node.
    type: path
    default: /etc/snoopy/snoopy.yaml
  bridges:
    description: Only these bridges of the configuration. All of them when it is empty.
    type: list
    elements: str
    default: []
  listen:
    description:
      - How long to go on listening, and acting on what is heard, before the run ends. A duration such as C(30s).
      - Not in check mode.
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
    description: Can run in check mode and say what would change, without changing or consuming anything.
    support: full
  diff_mode:
    description: Says what changed, or would, on data path and neighbors, in diff mode.
    support: full
  facts:
    description: Returns C(ansible_facts).
    support: full
  platform:
    description: Systems it runs on.
    support: full
    platforms: linux
notes:
  - Needs root, so use C(become).
  - I(changed) is about the data path alone, that is program, ports and policies. Neighbors come and go with the
    hosts and have I(neighbors_changed).
  - Neighbors that changed while the data path did not are in the result's I(diff), which Ansible shows only
    for a task that changed something.
"""

EXAMPLES = r"""
- name: Run snoopy by the file on the node
  snoopy.evpn.reconcile: {}
  become: true

- name: Run it for one bridge, and act on what is heard for half a minute
  snoopy.evpn.reconcile:
    bridges: [vmbr0]
    listen: 30s
  become: true

- name: Run it by a configuration that is in no file
  snoopy.evpn.reconcile:
    config:
      version: 1
      bridges:
        - name: vmbr0
          static:
            - {ip: 10.1.1.53, mac: "52:54:00:12:34:56"}
  become: true

- name: What does the node know?
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
  description: Whether any neighbor was written or withdrawn, or would be.
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
        - In check mode those that there are, not those that there would be.
      returned: when snoopy ran to its end
      type: list
      elements: dict
      contains:
        bridge:
          description: The bridge.
          type: str
          sample: vmbr0
        device:
          description: The device that has the neighbor, which is the bridge or a VLAN device above it.
          type: str
          sample: vmbr0
        vlan:
          description: VLAN ID, or 0 where there is none.
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
          description: Where it is from, C(learned) or C(static).
          type: str
          sample: learned
"""

import json

from ansible.module_utils.basic import AnsibleModule

NEIGHBOR_KEYS = ("bridge", "device", "vlan", "ip", "mac", "port", "source")
# What each kind of step brings, and what it takes away.
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
    """Runs snoopy once and returns what of its report is Ansible's business."""
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
    """The neighbors that are installed now, by a command that changes and consumes nothing."""
    status = run_snoopy(module, "status", [])
    installed = [binding for binding in status["bindings"] if binding["state"] == "installed"]
    return [{key: binding[key] for key in NEIGHBOR_KEYS} for binding in installed]


def run_snoopy(module, command, args):
    """The report of a command. Ends the module if there is none."""
    params = module.params
    # Where sudo's PATH does not reach, npm may have put it.
    snoopy = module.get_bin_path(params["executable"], opt_dirs=["/usr/local/bin"])
    if snoopy is None:
        module.fail_json(
            msg="Cannot find %s on this node; install it with the role snoopy.evpn.snoopy, or give its path as "
            "executable" % params["executable"]
        )
    stdin, config = None, params["config_path"]
    if params["config"] is not None:
        # JSON is YAML, in which nothing but a number is a number.
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
    """What went wrong, each with its remedy; what is still due where nothing says more."""
    messages = [describe_problem(error, params) for error in report["errors"]]
    # A document of errors has nothing else.
    done = report.get("steps", []) + report.get("neighbors", {}).get("changes", [])
    messages += [entry["outcome"]["message"] for entry in done if entry["outcome"]["kind"] == "failed"]
    if not messages:
        remaining = report.get("remaining", [])
        messages = ["still due: " + describe_action(action["kind"], action) for action in remaining]
    return "; ".join(messages) or "snoopy failed and did not say why; see its report"


def describe_problem(error, params):
    """A problem of a configuration begins with its place: of use where there is a file to look into."""
    message = error["message"]
    if params["config"] is None or "line" not in error:
        return message
    place = "%s:%d:%d: " % (error["file"], error["line"], error["column"])
    return message.replace(place, "config: ", 1)


def diff_of(steps, changes):
    """What was there before and what is there after, a line each."""
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
