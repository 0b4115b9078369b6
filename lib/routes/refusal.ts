/** Schema of an error in Fastify's form. Open: an error handler of the host's may say more, or something else. */
export function refusal (description: string) {
  return {
    description,
    type: 'object',
    additionalProperties: true,
    properties: { statusCode: { type: 'integer' }, code: { type: 'string' }, error: { type: 'string' }, message: { type: 'string' } }
  } as const
}
