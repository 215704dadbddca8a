// Requests to NETLINK_ROUTE and their answers: dumps and batches. For notifications see subscription.ts.

import { closeSync } from 'node:fs';
import { readI32, readU32 } from '../base/bytes.ts';
import { SnoopyError } from '../base/errors.ts';
import { Inbox } from '../ffi/inbox.ts';
import { type CallContext, ENOBUFS, errnoName, send, systemError } from '../ffi/libc.ts';
import {
  DATAGRAM_SIZE,
  openDescriptor,
  receiveAll,
  receiveBufferSize,
  receiveMessages,
} from './descriptor.ts';
import {
  Attributes,
  addFlags,
  align,
  encodeMessage,
  type Message,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HDRLEN,
  type Request,
} from './message.ts';

/** enum nlmsgerr_attrs */
const NLMSGERR_ATTR_MSG = 1;

/** Most bytes in one sendto; the kernel refuses more than SO_SNDBUF, 208 KiB by default. */
const SEND_SIZE = 64 * 1024;
/** Bytes of the receive buffer for an acknowledgement and for an answer: skb->truesize, rounded up. */
const ACK_COST = 1024;
const ANSWER_COST = 10 * 1024;
/** How often a dump is started when the kernel reports each time that the table has changed meanwhile. */
const DUMP_ATTEMPTS = 10;
/** The kernel answers within the sendto call. This limit only prevents an endless wait. */
const ANSWER_TIMEOUT_MS = 10_000;

/** A request that the kernel refused. */
export interface Failure {
  readonly ok: false;
  readonly errno: number;
  /** Such as `EEXIST`. */
  readonly name: string;
  /** The kernel's extended acknowledgement, if it sent one. */
  readonly message: string | undefined;
}

/** `replies` are the answers to a request with `answered: true`. Their payloads are copies. */
export interface Success {
  readonly ok: true;
  readonly replies: readonly Message[];
}

export type Result = Success | Failure;

/** How the messages of a dump are collected. */
export interface Collector<Collection> {
  /** An empty collection, for each attempt. */
  begin(): Collection;
  add(collection: Collection, message: Message): void;
}

export interface NetlinkSocket {
  /** nlmsg_pid of our own requests, and of the notifications they cause. */
  readonly portId: number;
  /**
   * Sends `request` as a dump and decodes every message of the answer; when `decode` returns undefined, the message is
   * left out. `what` is the name in errors, such as `neighbors`. Payloads must not be kept: the buffer is reused.
   * Starts again, a few times, when the kernel reports that the table changed during the dump.
   */
  dump<T>(request: Request, what: string, decode: (message: Message) => T | undefined): T[];
  /** The same, into a collection other than a list. */
  dumpInto<Collection>(request: Request, what: string, collector: Collector<Collection>): Collection;
  /**
   * Sends the requests in order, many in one datagram, and returns one result for each, in the same order. A failure
   * does not stop later requests. ENOBUFS means that the kernel lost the answer and the outcome is unknown. Each
   * request is copied before the next is taken from the iterable, so tens of thousands need not exist at once.
   */
  batch(requests: Iterable<Request>): Result[];
  /**
   * Sends requests for single objects as `batch` does, and hands over each answer, in their order, with the index of its
   * request. An object that does not exist has none: `absent` are the errors that say so. `what` is the name in errors;
   * payloads must not be kept, as for a dump.
   */
  lookUp(
    requests: Iterable<Request>,
    what: string,
    take: (message: Message, request: number) => void,
    absent?: readonly string[],
  ): void;
  close(): void;
}

/** What `lookUp` finds, decoded; when `decode` returns undefined, an answer is left out. Throws as `lookUp` does. */
export function lookUpAll<T>(
  socket: Pick<NetlinkSocket, 'lookUp'>,
  requests: Iterable<Request>,
  what: string,
  decode: (message: Message) => T | undefined,
  absent: readonly string[],
): T[] {
  const found: T[] = [];
  const take = (message: Message): void => {
    const item = decode(message);
    if (item !== undefined) found.push(item);
  };
  socket.lookUp(requests, what, take, absent);
  return found;
}

/** The error for a refused request; its cause is `EINVAL (kernel: ...)`. */
export function failureError(failure: Failure, context: CallContext): SnoopyError {
  const detail = failure.message === undefined ? undefined : `kernel: ${failure.message}`;
  return systemError(
    { code: 'netlink_failed', capability: 'CAP_NET_ADMIN', ...context },
    failure.errno,
    detail,
  );
}

function netlinkFailed(
  object: string,
  parts: { readonly operation: string; readonly cause: string; readonly fix: string },
): SnoopyError {
  return new SnoopyError({ code: 'netlink_failed', object, ...parts });
}

function failureOf(errno: number, message: string | undefined): Failure {
  return { ok: false, errno, name: errnoName(errno), message };
}

/** NETLINK_EXT_ACK's text among the attributes of NLMSG_ERROR or NLMSG_DONE. */
function extendedText(message: Message, offset: number): string | undefined {
  if ((message.flags & NLM_F_ACK_TLVS) === 0 || offset >= message.payload.length) return undefined;
  return new Attributes(message.payload, offset).text(NLMSGERR_ATTR_MSG);
}

/**
 * struct nlmsgerr: s32 error, the header of the request, then its payload unless NLM_F_CAPPED, then
 * attributes with NLM_F_ACK_TLVS. undefined for an acknowledgement of success (error 0).
 */
export function decodeFailure(message: Message): Failure | undefined {
  const error = readI32(message.payload, 0);
  if (error === 0) return undefined;
  const isCapped = (message.flags & NLM_F_CAPPED) !== 0;
  const requestLength = isCapped ? NLMSG_HDRLEN : readU32(message.payload, 4);
  return failureOf(-error, extendedText(message, 4 + align(requestLength)));
}

const DONE: Success = { ok: true, replies: [] };

/** What becomes of requests; `index` counts them from the first. */
interface Exchange {
  /** Every request has succeeded so far. */
  sent(count: number): void;
  reply(index: number, message: Message): void;
  /** NLMSG_ERROR with an error. */
  refused(index: number, message: Message): void;
  /** The answer was lost. */
  lost(index: number): void;
}

/** Bytes of the receive buffer for the answers to a request. */
function costOf({ answered }: Request): number {
  return answered === true ? ACK_COST + ANSWER_COST : ACK_COST;
}

class RouteSocket implements NetlinkSocket {
  readonly portId: number;
  readonly #fd: number;
  /** Bytes of the kernel's receive buffer for all outstanding answers. */
  readonly #answerBudget: number;
  readonly #inbound = new Uint8Array(DATAGRAM_SIZE);
  readonly #outbound = new Uint8Array(SEND_SIZE);
  /** For the answers to single requests, each of which is a datagram of its own. */
  #inbox: Inbox | undefined;
  #sequence = 1;
  #isOpen = true;

  constructor() {
    const { fd, portId } = openDescriptor();
    this.#fd = fd;
    this.portId = portId;
    // The kernel returns the size it really set, doubled. A quarter stays free.
    this.#answerBudget = (receiveBufferSize(fd) * 3) / 4;
  }

  dump<T>(request: Request, what: string, decode: (message: Message) => T | undefined): T[] {
    return this.dumpInto<T[]>(request, what, {
      begin: () => [],
      add: (found, message) => {
        const item = decode(message);
        if (item !== undefined) found.push(item);
      },
    });
  }

  dumpInto<Collection>(request: Request, what: string, collector: Collector<Collection>): Collection {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
      const collection = collector.begin();
      if (this.#dumpOnce(request, what, (message) => collector.add(collection, message))) return collection;
    }
    throw netlinkFailed(what, {
      operation: `read the ${what}`,
      cause: `they changed during each of ${DUMP_ATTEMPTS} attempts`,
      fix: 'run again',
    });
  }

  /** One attempt; false when the kernel reports that the table changed. */
  #dumpOnce(request: Request, what: string, take: (message: Message) => void): boolean {
    const context = { operation: `read the ${what}`, object: what };
    const sequence = this.#sequence++;
    const length = encodeMessage(request, NLM_F_REQUEST | NLM_F_DUMP, sequence, this.#outbound, 0);
    send(this.#fd, this.#outbound, length);
    let isInterrupted = false;
    // A decoder's error is thrown after the dump ends, so that the socket stays usable.
    let error: unknown;
    for (;;) {
      const answer = receiveMessages(this.#fd, this.#inbound, ANSWER_TIMEOUT_MS);
      if (answer.kind === 'empty') throw noAnswer(what);
      if (answer.kind === 'overrun') {
        isInterrupted = true;
        continue;
      }
      for (const message of answer.messages) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) isInterrupted = true;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          const failure = message.type === NLMSG_ERROR ? decodeFailure(message) : decodeDone(message);
          if (failure !== undefined) throw failureError(failure, context);
          if (error !== undefined) throw error;
          return !isInterrupted;
        }
        if (error !== undefined) continue;
        try {
          take(message);
        } catch (thrown) {
          error = thrown;
        }
      }
    }
  }

  batch(requests: Iterable<Request>): Result[] {
    const results: Result[] = [];
    this.#exchange(requests, {
      sent: (count) => {
        for (let i = 0; i < count; i++) results.push(DONE);
      },
      reply: (index, message) => {
        const before = results[index];
        const replies = before?.ok === true ? before.replies : [];
        // A copy, because the buffer is reused.
        const reply = { ...message, payload: new Uint8Array(message.payload) };
        results[index] = { ok: true, replies: [...replies, reply] };
      },
      refused: (index, message) => {
        const failure = decodeFailure(message);
        if (failure !== undefined) results[index] = failure;
      },
      lost: (index) => {
        results[index] = failureOf(ENOBUFS, 'the answer was lost');
      },
    });
    return results;
  }

  lookUp(
    requests: Iterable<Request>,
    what: string,
    take: (message: Message, request: number) => void,
    absent: readonly string[] = ['ENOENT'],
  ): void {
    let failure: Failure | undefined;
    this.#exchange(requests, {
      sent: () => undefined,
      reply: (request, message) => take(message, request),
      refused: (_, message) => {
        const refusal = decodeFailure(message);
        if (refusal !== undefined && !absent.includes(refusal.name)) failure ??= refusal;
      },
      lost: () => {
        failure ??= failureOf(ENOBUFS, 'the answer was lost');
      },
    });
    if (failure !== undefined) throw failureError(failure, { operation: `read the ${what}`, object: what });
  }

  #exchange(requests: Iterable<Request>, exchange: Exchange): void {
    const queue = requests[Symbol.iterator]();
    let next = queue.next();
    for (let sent = 0; next.done !== true; ) {
      const firstSequence = this.#sequence;
      next = this.#sendSome(next.value, queue);
      const count = this.#sequence - firstSequence;
      exchange.sent(count);
      this.#collect(firstSequence, count, exchange, sent);
      sent += count;
    }
  }

  /**
   * Sends `first` and as many further requests as fit into one datagram, and whose answers fit into the receive buffer.
   * Returns the next request. Only the last one requests an acknowledgement: the kernel works in order, and always
   * reports failures.
   */
  #sendSome(first: Request, queue: Iterator<Request>): IteratorResult<Request> {
    let budget = this.#answerBudget - costOf(first);
    let last = 0;
    let length = encodeMessage(first, NLM_F_REQUEST, this.#sequence++, this.#outbound, 0);
    let next = queue.next();
    while (next.done !== true) {
      budget -= costOf(next.value);
      const size = align(NLMSG_HDRLEN + next.value.payload.length);
      if (budget < 0 || length + size > SEND_SIZE) break;
      last = length;
      length = encodeMessage(next.value, NLM_F_REQUEST, this.#sequence++, this.#outbound, length);
      next = queue.next();
    }
    addFlags(this.#outbound, last, NLM_F_ACK);
    send(this.#fd, this.#outbound, length);
    return next;
  }

  /** Receives the answers to `count` requests from `firstSequence` on, the first of which is number `first`. */
  #collect(firstSequence: number, count: number, exchange: Exchange, first: number): void {
    const lastSequence = firstSequence + count - 1;
    let isLost = false;
    const answered = new Set<number>();
    for (;;) {
      // After an overrun the last acknowledgement may be lost too: do not wait for it.
      this.#inbox ??= new Inbox();
      const answer = receiveAll(this.#fd, this.#inbox, isLost ? 0 : ANSWER_TIMEOUT_MS);
      if (answer.kind === 'overrun') {
        isLost = true;
        continue;
      }
      if (answer.kind === 'empty') {
        if (!isLost) throw noAnswer('requests');
        break;
      }
      let isOver = false;
      for (const message of answer.messages) {
        const index = message.sequence - firstSequence;
        if (index < 0 || index >= count) continue;
        answered.add(index);
        if (message.type === NLMSG_ERROR) {
          if (readI32(message.payload, 0) !== 0) exchange.refused(first + index, message);
          if (message.sequence === lastSequence) isOver = true;
        } else {
          exchange.reply(first + index, message);
        }
      }
      if (isOver && !isLost) return;
    }
    for (let index = 0; index < count; index++) {
      if (!answered.has(index)) exchange.lost(first + index);
    }
  }

  close(): void {
    if (this.#isOpen) closeSync(this.#fd);
    this.#isOpen = false;
  }
}

/** The payload of NLMSG_DONE: s32 error, then attributes with NLM_F_ACK_TLVS. */
function decodeDone(message: Message): Failure | undefined {
  if (message.payload.length < 4) return undefined;
  const error = readI32(message.payload, 0);
  return error < 0 ? failureOf(-error, extendedText(message, 4)) : undefined;
}

function noAnswer(what: string): SnoopyError {
  return netlinkFailed(what, {
    operation: `read the ${what}`,
    cause: `the kernel sent no answer in ${ANSWER_TIMEOUT_MS / 1000} s`,
    fix: 'run again',
  });
}

/** A socket for dumps and requests, in the network namespace of the caller. */
export function openNetlink(): NetlinkSocket {
  return new RouteSocket();
}
