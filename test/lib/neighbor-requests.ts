// Requests about neighbors as src/netlink encodes them, each in bytes of its own.
import type { IfIndex, IpAddress } from '../../src/base/address.ts';
import type { Request } from '../../src/netlink/message.ts';
import { changeNeighbors, type NeighborRequest, type NeighborWrite } from '../../src/netlink/neighbor.ts';

/** The bytes that a socket gets for these requests. */
export function encodeNeighborRequests(requests: readonly NeighborRequest[]): Request[] {
  const encoded: Request[] = [];
  const batch = (given: Iterable<Request>) => {
    for (const request of given) encoded.push({ ...request, payload: request.payload.slice() });
    return [];
  };
  changeNeighbors({ batch }, requests);
  return encoded;
}

function encodeOne(request: NeighborRequest): Request {
  const [encoded] = encodeNeighborRequests([request]);
  if (encoded === undefined) throw new Error('nothing was encoded');
  return encoded;
}

export function putNeighbor(entry: NeighborWrite, kind: 'create' | 'replace'): Request {
  return encodeOne({ kind, entry });
}

export function deleteNeighbor(ifIndex: IfIndex, ip: IpAddress): Request {
  return encodeOne({ kind: 'delete', ifIndex, ip });
}
