// The suites of test/run.mjs: the files that each leaves to `npm run test:all`, and how long a file may take.

/**
 * In the order in which they start. `deep`: files that only `npm run test:all` runs; single tests of other files that
 * only it runs are declared with `deepTest` of test/lib/depth.ts. `budgetS`: seconds that one file of the suite may
 * take on two cores beside two other files, in `npm test` and in `npm run test:all`; the summary names a file over it.
 * `apart`: the files that get a process of their own in a suite whose other files share one. `again`: the suite runs with
 * a second FRR as well (test/lib/frr.ts), in `npm test` these of its files.
 */
export const SUITES = [
  { name: 'unit', budgetS: [20, 20], deep: [], apart: ['main', 'start'] },
  { name: 'ansible', budgetS: [240, 900], deep: ['audit', 'fabric', 'preflight'] },
  { name: 'package', budgetS: [60, 300], deep: ['npm', 'release'] },
  {
    name: 'safety',
    budgetS: [60, 600],
    deep: [
      'faults',
      'files',
      'impersonation',
      'limits',
      'netlink',
      'partial',
      'pins',
      'soak',
      'switch',
      'upgrade',
    ],
  },
  {
    name: 'fabric',
    budgetS: [40, 120],
    deep: ['tunnel', 'verification'],
    again: { frr: '10.3', quick: ['doctor', 'routes'] },
  },
  {
    name: 'field',
    budgetS: [40, 120],
    deep: [
      '01-moved-vm-kept-its-old-route',
      '03-late-withdrawal-took-the-new-entry',
      '05-suppression-had-nothing-to-answer-from',
      '06-silent-host-lost-its-routes',
      '08-static-entry-was-not-advertised',
      '09-neighbor-was-on-a-macvlan',
      '10-suppression-dropped-the-announcement',
      '11-virtual-router-alternated-between-two-macs',
      '12-carp-sends-from-the-physical-mac',
      '13-vip-answered-without-override',
      '14-address-moved-without-announcement',
      '15-address-failed-over-to-another-mac',
      '16-container-came-back-with-another-mac',
      '18-bridge-took-the-mac-of-a-port',
      '19-neighbor-stayed-failed',
      '20-remote-mac-was-taken-for-local',
      '21-guest-took-the-address-of-another',
      '25-another-tool-deleted-clsact',
      '26-program-before-ours-ended-the-chain',
      '27-bpffs-was-mounted-twice',
    ],
  },
  { name: 'fuzz', budgetS: [40, 90], deep: [] },
  {
    name: 'kernel',
    budgetS: [40, 120],
    deep: ['errors', 'fdb', 'named-hosts', 'ports', 'progress', 'provisioning'],
  },
  { name: 'guest', budgetS: [150, 600], deep: ['fabric', 'features', 'multihoming', 'vlan-port'] },
  { name: 'arm64', budgetS: [0, 1_200], deep: ['package'] },
];

/**
 * The suites that run in guests only: in which kernels (test/guest/kernel.ts), and what else runs there in
 * `npm run test:all`.
 */
export const GUESTS = [
  {
    suite: 'guest',
    kernels: ['6.1'],
    also: ['kernel/netlink.test.js', 'field/23-rate-limit-failed-on-our-qdisc.test.js'],
  },
  {
    suite: 'arm64',
    kernels: ['arm64', 'arm64-16k'],
    also: ['kernel/checks.test.js', 'kernel/ffi.test.js', 'kernel/netlink.test.js', 'kernel/tcx.test.js'],
  },
];
