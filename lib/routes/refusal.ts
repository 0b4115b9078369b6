/** Schema of an error in Fastify's form. Without types: by them an error handler of the host's, which says something else there, would be made to fit. */
export function refusal (description: string) {
  return {
    description,
    type: 'object',
    additionalProperties: true,
    properties: {
      statusCode: { description: 'The status again' },
      code: { description: 'FST_PG_TAIL_…, or of Fastify' },
      error: { description: 'The status in words' },
      message: { description: 'What is wrong, for whoever asks' }
    }
  } as const
}
