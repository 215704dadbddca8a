// Requests and their results, one for one and in the same order. A missing result is an error, never a success.

/** Combines each request with its result. Throws RangeError when there are more of one than of the other. */
export function mapPairs<Request, Result, Made>(
  requests: readonly Request[],
  results: readonly Result[],
  combine: (request: Request, result: Result) => Made,
): Made[] {
  if (requests.length !== results.length) {
    throw new RangeError(`${requests.length} requests have ${results.length} results`);
  }
  const rest = results.values();
  return requests.map((request) => combine(request, takeNext(rest)));
}

/** The next result. Throws RangeError when there is none left. */
export function takeNext<Result>(results: Iterator<Result>): Result {
  const next = results.next();
  if (next.done === true) throw new RangeError('a request has no result');
  return next.value;
}
