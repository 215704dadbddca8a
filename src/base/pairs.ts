// Requests and their results, one for one and in the same order. A missing result is an error, never a success.

/** What `combine` makes of each request and its result. Throws RangeError unless there are as many of both. */
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
