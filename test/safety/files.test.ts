// Files that other users may write: a configuration is refused, pins are refused, links in the way of a textfile are
// not followed.
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { assertExit, failureCodes, Machine } from '../kernel/machine.ts';
import { listPins } from '../lib/bpffs.ts';
import { listAttached } from '../lib/oracles.ts';
import type { Result } from '../lib/run.ts';
import { outputOf, PRODUCT, withReport } from '../lib/snoopy.ts';
import { createTempDir } from '../lib/temp.ts';
import { until } from '../lib/wait.ts';

/** An unnamed user: the attacker. */
const OTHER = 65534;
const AS_OTHER = ['setpriv', `--reuid=${OTHER}`, `--regid=${OTHER}`, '--clear-groups'];

interface Place {
  readonly machine: Machine;
  /** Of root, where no other user may write. */
  readonly root: string;
  /** Of the other user. */
  readonly theirs: string;
}

function place(t: { after(undo: () => void): void }): Place {
  const machine = new Machine(t);
  const theirs = createTempDir(machine.scope, 'theirs');
  chownSync(theirs, OTHER, OTHER);
  return { machine, root: createTempDir(machine.scope, 'root'), theirs };
}

describe('a configuration', () => {
  function snoopy({ machine }: Place, file: string, command: string, before: readonly string[] = []): Result {
    const argv = [process.execPath, PRODUCT, command, '--config', file];
    return machine.netns.tryRun([...before, ...argv]);
  }

  /** A copy of the machine's configuration. */
  function copy({ machine }: Place, file: string, { uid = 0, gid = 0, mode = 0o644 } = {}): string {
    copyFileSync(machine.snoopy.configFile, file);
    chownSync(file, uid, gid);
    chmodSync(file, mode);
    return file;
  }

  const refused: Readonly<Record<string, (place: Place) => { file: string; message: string }>> = {
    'of another user': (there) => {
      const file = copy(there, `${there.root}/a.yaml`, { uid: OTHER });
      return { file, message: `"${file}" may be written by user ${OTHER}; chown root ${file}` };
    },
    'of another user that is no longer allowed to write': (there) => {
      const file = copy(there, `${there.root}/a.yaml`, { uid: OTHER, mode: 0o444 });
      return { file, message: `user ${OTHER}; chown root ${file}` };
    },
    'writable by a group': (there) => {
      const file = copy(there, `${there.root}/a.yaml`, { gid: OTHER, mode: 0o664 });
      return {
        file,
        message: `"${file}" may be written by group ${OTHER} or users in its ACL; chmod g-w ${file}`,
      };
    },
    "writable by root's group, or by a user that an ACL names": (there) => {
      const file = copy(there, `${there.root}/a.yaml`, { mode: 0o664 });
      return {
        file,
        message: `"${file}" may be written by group 0 or users in its ACL; chmod g-w ${file}`,
      };
    },
    'writable by everybody': (there) => {
      const file = copy(there, `${there.root}/a.yaml`, { mode: 0o666 });
      return { file, message: `"${file}" may be written by all users; chmod go-w ${file}` };
    },
    'in a directory of another user': (there) => {
      const file = copy(there, `${there.theirs}/a.yaml`);
      return {
        file,
        message: `"${there.theirs}" may be written by user ${OTHER}; chown root ${there.theirs}`,
      };
    },
    'in a directory writable by everybody': (there) => {
      chmodSync(there.root, 0o777);
      const file = copy(there, `${there.root}/a.yaml`);
      return { file, message: `"${there.root}" may be written by all users; chmod go-w ${there.root}` };
    },
    'far below a directory of another user': (there) => {
      mkdirSync(`${there.theirs}/a/b`, { recursive: true });
      const file = copy(there, `${there.theirs}/a/b/a.yaml`);
      return { file, message: `"${there.theirs}" may be written by user ${OTHER}` };
    },
    'through a link in a directory of another user': (there) => {
      copy(there, `${there.root}/a.yaml`);
      symlinkSync(`${there.root}/a.yaml`, `${there.theirs}/link.yaml`);
      return { file: `${there.theirs}/link.yaml`, message: `"${there.theirs}" may be written by` };
    },
    'through a link of root into a directory of another user': (there) => {
      copy(there, `${there.theirs}/a.yaml`);
      symlinkSync(there.theirs, `${there.root}/link`);
      return { file: `${there.root}/link/a.yaml`, message: `"${there.theirs}" may be written by` };
    },
    'through a relative link of root': (there) => {
      mkdirSync(`${there.root}/x`);
      mkdirSync(`${there.root}/y`, { mode: 0o777 });
      chmodSync(`${there.root}/y`, 0o777);
      copy(there, `${there.root}/y/a.yaml`);
      symlinkSync('../y/./a.yaml', `${there.root}/x/a.yaml`);
      return {
        file: `${there.root}/x/../x/a.yaml`,
        message: `"${there.root}/y" may be written by all users`,
      };
    },
  };

  for (const [what, prepare] of Object.entries(refused)) {
    test(`${what} is refused, and nothing is done`, (t) => {
      const there = place(t);
      const { file, message } = prepare(there);
      for (const command of ['reconcile', 'remove', 'status', 'doctor']) {
        const result = snoopy(there, file, command);
        assertExit(result, 78);
        assert.ok(
          result.stderr.startsWith(`snoopy: Cannot trust the configuration "${file}": `),
          outputOf(result),
        );
        assert.ok(result.stderr.includes(message), outputOf(result));
        assert.equal(result.stdout, '');
      }
      assert.deepEqual(listPins(there.machine.snoopy.bpffs), []);
      const validated = snoopy(there, file, 'validate');
      assertExit(validated, 0);
      assert.ok(validated.stderr.startsWith('snoopy: warning: A run will refuse'), outputOf(validated));
      assert.ok(validated.stderr.includes(message), outputOf(validated));
    });
  }

  test('is not parsed when it is refused, and the JSON report has the reason', (t) => {
    const there = place(t);
    const file = `${there.root}/a.yaml`;
    writeFileSync(file, '{{{{ not: [a configuration');
    chmodSync(file, 0o666);
    const result = there.machine.netns.tryRun([
      ...[process.execPath, PRODUCT, 'reconcile', '--config', file, '--format', 'json'],
    ]);
    assertExit(result, 78);
    assert.deepEqual(
      withReport(result).report.errors.map(({ code, object }) => [code, object]),
      [['config_untrusted', file]],
    );
    assertExit(snoopy(there, file, 'validate'), 78);
  });

  const accepted: Readonly<Record<string, (place: Place) => { file: string; before?: readonly string[] }>> = {
    'in a sticky directory that is writable by everybody': (there) => {
      chmodSync(there.root, 0o1777);
      return { file: copy(there, `${there.root}/a.yaml`) };
    },
    'of the user behind sudo': (there) => ({
      file: copy(there, `${there.theirs}/a.yaml`, { uid: OTHER, gid: OTHER }),
      before: ['env', `SUDO_UID=${OTHER}`],
    }),
    'through links of root': (there) => {
      mkdirSync(`${there.root}/x`);
      copy(there, `${there.root}/x/a.yaml`);
      symlinkSync('x/a.yaml', `${there.root}/a.yaml`);
      symlinkSync(there.root, `${there.root}/x/back`);
      return { file: `${there.root}/x/back/a.yaml` };
    },
    'with a relative path': (there) => {
      copy(there, `${there.root}/a.yaml`);
      return { file: './a.yaml', before: ['env', '-C', there.root] };
    },
    'that is open already': (there) => ({
      file: '/dev/stdin',
      before: ['sh', '-c', 'exec "$@" < "$0"', copy(there, `${there.root}/a.yaml`)],
    }),
    'that comes through a pipe': (there) => ({
      file: '/dev/fd/0',
      before: ['sh', '-c', 'cat "$0" | "$@"', copy(there, `${there.root}/a.yaml`)],
    }),
  };

  for (const [what, prepare] of Object.entries(accepted)) {
    test(`${what} is accepted`, (t) => {
      const there = place(t);
      const { file, before = [] } = prepare(there);
      for (const command of ['reconcile', 'status', 'validate', 'remove']) {
        const result = snoopy(there, file, command, before);
        assertExit(result, 0);
        assert.equal(result.stderr, '');
      }
    });
  }

  test('that another user passes on is refused, whatever SUDO_UID says to a process that is not root', (t) => {
    const there = place(t);
    const file = copy(there, `${there.root}/a.yaml`, { uid: 1 });
    const result = snoopy(there, file, 'status', [...AS_OTHER, 'env', 'SUDO_UID=1']);
    assertExit(result, 78);
    assert.ok(result.stderr.includes('may be written by user 1;'), outputOf(result));
    const passed = snoopy(there, '/dev/stdin', 'status', ['sh', '-c', 'exec "$@" < "$0"', file]);
    assertExit(passed, 78);
    chownSync(file, OTHER, OTHER);
    // Its own file fails only for lack of capabilities.
    assertExit(snoopy(there, file, 'status', AS_OTHER), 77);
  });
});

describe('the textfile', () => {
  function configure({ machine }: Place, textfile: string): void {
    machine.snoopy.privileged().configure({ bridges: [{ name: 'br0' }], metrics: { textfile } });
  }

  function assertWritten(there: Place, textfile: string): void {
    there.machine.reconcile();
    const stats = lstatSync(textfile);
    assert.ok(stats.isFile());
    assert.equal(stats.mode & 0o7777, 0o644);
    assert.equal(stats.uid, 0);
    assert.match(readFileSync(textfile, 'utf8'), /^snoopy_last_run_success 1$/m);
    assert.equal(existsSync(`${textfile}.tmp`), false);
  }

  for (const [what, plant] of [
    ['links', symlinkSync],
    ['hard links to a file of root', linkSync],
  ] as const) {
    test(`replaces ${what} in its place and in that of its draft, and leaves their targets`, (t) => {
      const there = place(t);
      const victim = `${there.root}/victim`;
      writeFileSync(victim, 'mine', { mode: 0o600 });
      const textfile = `${there.theirs}/snoopy.prom`;
      configure(there, textfile);
      for (const path of [textfile, `${textfile}.tmp`]) {
        plant(victim, path);
        assertWritten(there, textfile);
        assert.equal(readFileSync(victim, 'utf8'), 'mine');
        assert.equal(lstatSync(victim).mode & 0o777, 0o600);
      }
      plant(victim, `${textfile}.tmp`);
      there.machine.remove();
      assert.equal(existsSync(textfile), false);
      assert.equal(readFileSync(victim, 'utf8'), 'mine');
    });
  }

  test('is written below real directories of the collector, which it normally has', (t) => {
    const there = place(t);
    mkdirSync(`${there.theirs}/a/textfiles`, { recursive: true });
    chownSync(`${there.theirs}/a`, OTHER, OTHER);
    chmodSync(`${there.theirs}/a/textfiles`, 0o1777);
    const textfile = `${there.theirs}/a/textfiles/snoopy.prom`;
    configure(there, textfile);
    assertWritten(there, textfile);
    there.machine.remove();
    assert.deepEqual(readdirSync(`${there.theirs}/a/textfiles`), []);
  });

  test('is written through links that only root can make', (t) => {
    const there = place(t);
    symlinkSync(there.theirs, `${there.root}/link`);
    configure(there, `${there.root}/link/snoopy.prom`);
    assertWritten(there, `${there.theirs}/snoopy.prom`);
  });

  test('is neither written nor deleted through links that other users can make', (t) => {
    const there = place(t);
    const { machine, root, theirs } = there;
    mkdirSync(`${root}/victim`);
    writeFileSync(`${root}/victim/old.prom`, 'mine');
    symlinkSync(`${root}/victim`, `${theirs}/sub`);
    lchownSync(`${theirs}/sub`, OTHER, OTHER);
    mkdirSync(`${theirs}/real/sub`, { recursive: true });
    symlinkSync('../..', `${theirs}/real/sub/up`);
    for (const textfile of [`${theirs}/sub/snoopy.prom`, `${theirs}/real/sub/up/sub/snoopy.prom`]) {
      configure(there, textfile);
      const run = machine.snoopy.reconcile();
      assertExit(run, 1);
      assert.deepEqual(failureCodes(run.report), ['textfile_failed']);
      assert.match(
        run.stderr,
        /"(sub|up)" leads elsewhere, and ".*" may be written by user 65534; chown root/,
      );
      assert.equal(machine.isAttached('tap1'), true, 'everything else is done');
    }
    assert.deepEqual(readdirSync(`${root}/victim`), ['old.prom']);
    configure(there, `${theirs}/sub/old.prom`);
    machine.remove();
    assert.deepEqual(readdirSync(`${root}/victim`), ['old.prom']);
  });

  test('is safe from an attacker that exchanges directories and files all the time', (t) => {
    const there = place(t);
    const { machine, root, theirs } = there;
    mkdirSync(`${root}/victim`);
    const victim = `${root}/victim/snoopy.prom`;
    writeFileSync(victim, 'mine', { mode: 0o600 });
    writeFileSync(`${root}/victim/snoopy.prom.tmp`, 'mine');
    // As fast as possible: the directory on the way is real or a link, the draft and the file are links or missing.
    const attack = `
import os, time
v, d = ${JSON.stringify(`${root}/victim`)}, ${JSON.stringify(theirs)}
os.mkdir(d + '/real'); os.symlink(v, d + '/link'); os.symlink(d + '/real', d + '/sub')
os.remove(d + '/sub'); print('ready', flush=True)
end = time.time() + 300
while time.time() < end:
    for source in ('/real', '/link'):
        try: os.rename(d + source, d + '/sub')
        except OSError: pass
        for name in ('snoopy.prom.tmp', 'snoopy.prom'):
            try: os.symlink(v + '/snoopy.prom', d + '/sub/' + name)
            except OSError: pass
        try: os.rename(d + '/sub', d + source)
        except OSError: pass
`;
    const attacker = machine.netns.start(...AS_OTHER, '/usr/bin/python3', '-c', attack);
    configure(there, `${theirs}/sub/snoopy.prom`);
    const codes = new Set<number>();
    for (let turn = 0; turn < 12; turn++) {
      codes.add(machine.snoopy.run('reconcile').code);
      if (turn % 4 === 3) codes.add(machine.snoopy.run('remove').code);
    }
    assert.ok(attacker.running, attacker.stderr);
    attacker.kill();
    assert.deepEqual(
      [...codes].filter((code) => code !== 0 && code !== 1),
      [],
      `${[...codes]}`,
    );
    assert.equal(readFileSync(victim, 'utf8'), 'mine');
    assert.equal(lstatSync(victim).mode & 0o777, 0o600);
    assert.equal(readFileSync(`${root}/victim/snoopy.prom.tmp`, 'utf8'), 'mine');
    assert.deepEqual(readdirSync(`${root}/victim`).sort(), ['snoopy.prom', 'snoopy.prom.tmp']);
  });

  test('is not written through a link that appears at its draft at the worst moment', async (t) => {
    const there = place(t);
    const victim = `${there.root}/victim`;
    writeFileSync(victim, 'mine');
    const textfile = `${there.theirs}/snoopy.prom`;
    const draft = `${textfile}.tmp`;
    configure(there, textfile);
    there.machine.reconcile();
    writeFileSync(draft, 'left by a run that was killed');
    // The run stops between deleting the old draft and creating the new one.
    const trace = ['strace', '-f', '-o', '/dev/null', '-e', 'inject=unlink:delay_exit=3000000:when=1'];
    const run = there.machine.netns.start(...trace, ...there.machine.snoopy.argv('reconcile'));
    await until(
      'the old draft to be gone',
      () => existsSync(draft),
      (isThere) => !isThere,
      { everyMs: 5 },
    );
    symlinkSync(victim, draft);
    const result = await run.ended(30_000);
    assertExit(result, 1);
    assert.match(result.stderr + result.stdout, /Cannot write the textfile ".*": EEXIST/);
    assert.equal(readFileSync(victim, 'utf8'), 'mine');
    assertWritten(there, textfile);
  });

  test('in the directory of another user needs CAP_DAC_OVERRIDE, and a run without it says so', (t) => {
    const { machine, theirs } = place(t);
    const textfile = `${theirs}/snoopy.prom`;
    machine.snoopy.configure({ bridges: [{ name: 'br0' }], metrics: { textfile } });
    const run = machine.snoopy.reconcile();
    assertExit(run, 1);
    assert.match(run.stderr, /Cannot write the textfile ".*": EACCES; .* or run with CAP_DAC_OVERRIDE/);
    assert.equal(existsSync(textfile), false);
  });
});

describe('the pins', () => {
  test('belong only to the user that runs it, whatever the umask', (t) => {
    for (const [umask, attach] of [
      ['000', 'clsact'],
      ['077', 'clsact'],
      ['000', 'tcx'],
    ] as const) {
      const machine = new Machine(t);
      const textfile = join(createTempDir(machine.scope, 'metrics'), 'snoopy.prom');
      const runtime = { attach, pin_dir: 'net/snoopy' };
      machine.snoopy.configure({ runtime, bridges: [{ name: 'br0' }], metrics: { textfile } });
      const argv = machine.snoopy.argv('reconcile');
      assertExit(machine.netns.tryRun(['sh', '-c', `umask ${umask}; exec "$@"`, 'sh', ...argv]), 0);
      for (const pin of listPins(machine.snoopy.bpffs)) {
        const { mode, uid } = lstatSync(`${machine.snoopy.bpffs}/${pin}`);
        assert.equal(mode & 0o077, 0, `${pin} has mode ${mode.toString(8)}`);
        assert.equal(uid, 0);
      }
      assert.equal(lstatSync(textfile).mode & 0o777, 0o644);
      // A user that may not open the directory cannot hold the lock against a run either.
      const pins = `${machine.snoopy.bpffs}/net/snoopy`;
      const locked = machine.netns.tryRun([...AS_OTHER, 'flock', '--nonblock', pins, 'true']);
      assert.notEqual(locked.code, 0);
      assert.match(locked.stderr, /Permission denied/);
      assert.equal(machine.netns.tryRun(['flock', '--nonblock', pins, 'true']).code, 0);
    }
  });

  const planted: Readonly<Record<string, (place: Place) => string>> = {
    'a directory of another user': ({ machine }) => {
      machine.netns.run(...AS_OTHER, 'mkdir', machine.pins);
      return `"${machine.pins}" may be written by user ${OTHER}; chown root ${machine.pins}`;
    },
    'a link of another user': ({ machine, root }) => {
      machine.netns.run(...AS_OTHER, 'ln', '-s', root, machine.pins);
      return `"${machine.pins}" may be written by user ${OTHER}; chown -h root ${machine.pins}`;
    },
    'a directory writable by everybody': ({ machine }) => {
      mkdirSync(machine.pins);
      chmodSync(machine.pins, 0o777);
      return `"${machine.pins}" may be written by all users; chmod go-w ${machine.pins}`;
    },
    'a directory of another user on the way': ({ machine }) => {
      machine.snoopy.configure({ runtime: { pin_dir: 'net/snoopy' }, bridges: [{ name: 'br0' }] });
      machine.netns.run(...AS_OTHER, 'mkdir', `${machine.snoopy.bpffs}/net`);
      return `"${machine.snoopy.bpffs}/net" may be written by user ${OTHER}`;
    },
    'a link of another user on the way': ({ machine, root }) => {
      machine.snoopy.configure({ runtime: { pin_dir: 'net/snoopy' }, bridges: [{ name: 'br0' }] });
      machine.netns.run(...AS_OTHER, 'ln', '-s', root, `${machine.snoopy.bpffs}/net`);
      return `"${machine.snoopy.bpffs}/net" may be written by user ${OTHER}`;
    },
    'a link of another user to bpffs': ({ machine, theirs }) => {
      const bpffs = `${theirs}/bpf`;
      machine.netns.run(...AS_OTHER, 'ln', '-s', machine.snoopy.bpffs, bpffs);
      machine.snoopy.configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
      return `"${theirs}" may be written by user ${OTHER}`;
    },
    'a mount point in a directory of another user': ({ machine, theirs }) => {
      const bpffs = `${theirs}/bpf`;
      mkdirSync(bpffs);
      machine.snoopy.privileged().configure({ runtime: { bpffs }, bridges: [{ name: 'br0' }] });
      return `"${theirs}" may be written by user ${OTHER}`;
    },
  };

  for (const [what, plant] of Object.entries(planted)) {
    test(`are not looked for in or behind ${what}`, (t) => {
      const there = place(t);
      const { machine, root, theirs } = there;
      const message = plant(there);
      const stateOf = (): unknown => [
        listPins(machine.snoopy.bpffs),
        readdirSync(root),
        readdirSync(theirs, { recursive: true }),
        listAttached(machine.netns),
      ];
      const before = stateOf();
      // As an all-powerful root: not file modes, but the checks protect it.
      machine.snoopy.privileged();
      for (const command of ['reconcile', 'remove', 'status', 'doctor']) {
        const result = machine.snoopy.run(command);
        assertExit(result, 1);
        assert.ok((result.stderr + result.stdout).includes('Cannot trust the pins in'), outputOf(result));
        assert.ok((result.stderr + result.stdout).includes(message.split(';')[0] ?? ''), outputOf(result));
      }
      assert.deepEqual(stateOf(), before);
    });
  }

  test('may lie behind a link of root, and below a bpffs that everybody may write', (t) => {
    const { machine, root } = place(t);
    assert.equal(lstatSync(machine.snoopy.bpffs).mode & 0o7777, 0o1777);
    symlinkSync(machine.snoopy.bpffs, `${root}/bpf`);
    machine.snoopy.configure({ runtime: { bpffs: `${root}/bpf` }, bridges: [{ name: 'br0' }] });
    machine.reconcile();
    machine.assertIdle();
    machine.remove();
    assert.deepEqual(listPins(machine.snoopy.bpffs), []);
  });

  test('lie where the configuration says, which cannot contain ".."', (t) => {
    const { machine } = place(t);
    for (const runtime of [{ pin_dir: '../snoopy' }, { pin_dir: 'a/../../b' }, { bpffs: '/sys/fs/../bpf' }]) {
      machine.snoopy.configure({ runtime, bridges: [{ name: 'br0' }] });
      assertExit(machine.snoopy.run('reconcile'), 78);
    }
  });
});
