#include "contract.h"

const struct contract_case contract_holes[] = {{0}};
