package memstore_test

import (
	"testing"

	"github.com/ledgerline/ledgerline/readstore"
	"github.com/ledgerline/ledgerline/readstore/memstore"
	"github.com/ledgerline/ledgerline/readstore/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) readstore.Store { return memstore.New() })
}
